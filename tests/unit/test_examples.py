"""The examples' plain functions, on real files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import examples
from examples.documents import count_words
from examples.files import existing_file, write_json
from examples.maintenance import DAY_SECONDS, delete_older_than
from examples.notifications import append_notification
from examples.reports import totals
from examples.websites import extract
from jobclaim.settings import Settings

NOW = 1_750_000_000.0


# --- documents
def test_words_are_counted_without_regard_to_case() -> None:
    counted = count_words("The cat saw the other cat.\nDon't ask, the well-fed cat said.\n")
    assert (counted["lines"], counted["words"]) == (2, 12)
    assert list(counted["most_common"].items())[:3] == [("cat", 3), ("the", 3), ("ask", 1)]
    assert {"don't", "well-fed"} <= counted["most_common"].keys()


def test_words_of_every_script_count_and_numbers_do_not() -> None:
    assert count_words("Größe 42 слово")["words"] == 2


def test_an_empty_document_has_no_words() -> None:
    assert count_words("") == {"lines": 0, "words": 0, "characters": 0, "most_common": {}}


def test_a_document_is_processed_into_a_file_beside_it(tmp_path: Path) -> None:
    source = tmp_path / "letter.txt"
    source.write_text("one two two")
    result = examples.documents.process_document(str(source))
    assert result == {"output": f"{source}.words.json", "words": 3}
    assert json.loads(Path(result["output"]).read_text())["most_common"] == {"two": 2, "one": 1}


def test_a_missing_file_is_named_with_where_it_was_looked_for() -> None:
    with pytest.raises(FileNotFoundError, match=r"'letter\.txt' \(looked at /.*letter\.txt\)"):
        existing_file("letter.txt")


def test_a_file_is_replaced_in_one_step_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json(path, {"old": True})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


# --- websites
PAGE = """<html><head><title>A
  page &amp; more</title></head><body>
<a name="top">no link</a> <a href="/docs">The <b>docs</b></a> <A HREF='https://example.org/x?a=1&amp;b=2'>x</A>
<p>text outside</p></body>"""


def test_title_and_links_are_extracted() -> None:
    page = extract(PAGE, "https://example.com/start")
    assert page == {
        "title": "A page & more",
        "links": [
            {"url": "https://example.com/docs", "text": "The docs"},
            {"url": "https://example.org/x?a=1&b=2", "text": "x"},
        ],
    }


def test_a_pages_own_base_wins() -> None:
    assert extract('<base href="https://b.example/"><a href="c">c</a>', "https://a.example/")["links"][0]["url"] == (
        "https://b.example/c"
    )


def test_broken_html_gives_what_is_there() -> None:
    assert extract("</p><a href=x>y<b>z<") == {"title": "", "links": [{"url": "x", "text": "yz<"}]}


def test_a_website_is_scraped_into_a_file_beside_it(tmp_path: Path) -> None:
    source = tmp_path / "page.html"
    source.write_text(PAGE)
    result = examples.websites.scrape_website(str(source), "https://example.com/")
    assert (result["title"], result["links"]) == ("A page & more", 2)
    assert len(json.loads(Path(result["output"]).read_text())["links"]) == 2


# --- notifications
def test_notifications_are_appended_one_line_each(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.jsonl"
    for message in ("one\nline", "two"):
        append_notification(outbox, "ada@example.com", message)
    lines = [json.loads(line) for line in outbox.read_text().splitlines()]
    assert [line["message"] for line in lines] == ["one\nline", "two"]


def test_a_notification_to_nobody_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="recipient=' ' is empty"):
        append_notification(tmp_path / "outbox.jsonl", " ", "hello")
    assert list(tmp_path.iterdir()) == []


# --- maintenance
@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A directory with an old file, a new one, an old directory and a link to something old."""
    for name, days in (("old.log", 31), ("new.log", 29), ("old.txt", 31)):
        file = tmp_path / name
        file.write_text("12345")
        os.utime(file, (NOW - days * DAY_SECONDS,) * 2)
    (tmp_path / "sub").mkdir()
    os.utime(tmp_path / "sub", (NOW - 31 * DAY_SECONDS,) * 2)
    (tmp_path / "link.log").symlink_to(tmp_path / "old.txt")
    return tmp_path


def names(directory: Path) -> set[str]:
    """Name what is in a directory."""
    return {entry.name for entry in directory.iterdir()}


def test_only_old_files_are_deleted(archive: Path) -> None:
    assert delete_older_than(archive, 30, now=NOW, pattern="*.log") == {"files": 1, "bytes": 5, "dry_run": False}
    assert names(archive) == {"new.log", "old.txt", "sub", "link.log"}


def test_a_second_run_finds_nothing(archive: Path) -> None:
    delete_older_than(archive, 30, now=NOW)
    assert delete_older_than(archive, 30, now=NOW)["files"] == 0


def test_a_dry_run_deletes_nothing(archive: Path) -> None:
    before = names(archive)
    assert delete_older_than(archive, 30, now=NOW, dry_run=True) == {"files": 2, "bytes": 10, "dry_run": True}
    assert names(archive) == before


@pytest.mark.parametrize("days", [0, -1, float("nan")])
def test_an_age_that_would_delete_everything_is_refused(archive: Path, days: float) -> None:
    before = names(archive)
    with pytest.raises(ValueError, match="must be above 0"):
        delete_older_than(archive, days, now=NOW)
    assert names(archive) == before


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="gone"):
        delete_older_than(tmp_path / "gone", 1, now=NOW)


# --- reports
def test_totals_are_exact_and_largest_first() -> None:
    rows = [{"shop": "a", "sum": "0.1"}, {"shop": "b", "sum": "5"}, {"shop": "a", "sum": "0.2"}]
    report = totals(rows, group_by="shop", value="sum")
    assert report == {"rows": 3, "total": "5.3", "groups": {"b": "5", "a": "0.3"}}
    assert list(report["groups"]) == ["b", "a"]


def test_no_rows_total_nothing() -> None:
    assert totals([], group_by="shop", value="sum") == {"rows": 0, "total": "0", "groups": {}}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"shop": "a", "sum": "many"}, "row 1: sum='many' is not a number"),
        ({"shop": "a", "sum": "inf"}, "row 1: sum='inf' is not a number"),
        ({"shop": "a"}, "row 1 has no column 'sum'; its columns are \\['shop'\\]"),
    ],
)
def test_a_bad_row_is_named(row: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        totals([row], group_by="shop", value="sum")


def test_a_report_is_written_beside_its_source(tmp_path: Path) -> None:
    source = tmp_path / "sales.csv"
    source.write_text("shop,sum\na,1.50\nb,2\na,0.25\n")
    result = examples.reports.generate_analytics_report(str(source), "shop", "sum")
    assert (result["rows"], result["total"]) == (3, "3.75")
    assert json.loads(Path(result["output"]).read_text())["groups"] == {"b": "2", "a": "1.75"}


# --- as tasks
def test_every_example_is_registered_under_its_name_as_a_job_task() -> None:
    from jobclaim.workers import JobTask
    from jobclaim.workers.apps import default_app

    app = default_app()

    for name in (
        "process_document",
        "scrape_website",
        "send_notification",
        "cleanup_old_data",
        "generate_analytics_report",
    ):
        task = app.tasks[f"examples.{name}"]
        assert isinstance(task, JobTask)
        assert task.on_orphan == ("fail" if name == "send_notification" else "retry")


def test_the_plain_examples_are_ordinary_tasks() -> None:
    from jobclaim.workers import JobTask
    from jobclaim.workers.apps import default_app

    app = default_app()

    for name in ("plain_count_words", "plain_count_words_short"):
        assert not isinstance(app.tasks[f"examples.{name}"], JobTask)


def test_the_readmes_settings_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(examples.__file__).parent / "README.md").read_text()
    (tmp_path / "pyproject.toml").write_text(readme.split("```toml\n")[1].split("```")[0])
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.queue_of("examples.process_document") == "documents"
    assert settings.queue_of("examples.cleanup_old_data") == "default"
    assert settings.limits("examples.send_notification").hard == 60
