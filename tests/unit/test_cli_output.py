"""Formats, times and records."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.job_columns import columns
from jobclaim.cli.main import command_line
from jobclaim.cli.output import Column, Format, Output
from jobclaim.cli.session import Session
from jobclaim.cli.times import Duration, Moment
from jobclaim.jobs import Attempt, Failure, FailureKind, Job, JobStatus
from jobclaim.views.humane import iso, relative, span
from jobclaim.views.records import job_record, remark_on

ROWS = [{"job_id": "a", "n": 1}, {"job_id": "b", "n": 2}]
COLUMNS = [Column("job", lambda row: str(row["job_id"])), Column("n", lambda row: str(row["n"]))]
NOW = 1_750_000_000_000


def written(capsys: pytest.CaptureFixture[str], format: Format | None, rows: list[Any] = ROWS, **options: Any) -> str:  # noqa: A002
    """Write rows and give what standard output got."""
    Output(format).many(rows, COLUMNS, empty="None.", **options)
    return capsys.readouterr().out


def test_a_pipe_gets_one_json_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert [json.loads(line) for line in written(capsys, None).splitlines()] == ROWS


def test_a_terminal_gets_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert Output(None).format == "table"


def test_json_is_one_document_with_the_cursors(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(written(capsys, "json", extra={"cursors": {"FAILED": "x"}})) == {
        "items": ROWS,
        "cursors": {"FAILED": "x"},
    }


def test_ids_are_bare(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(capsys, "ids") == "a\nb\n"


def test_a_fact_is_a_sentence_for_people_and_a_record_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    texts: dict[Format, str] = {"table": "One.\n", "jsonl": '{"job_id":"a","n":1}\n', "ids": "a\n"}
    for format, text in texts.items():  # noqa: A001
        Output(format).fact(ROWS[0], "One.")
        assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    "arguments", [("prune",), ("recover",), ("recover", "--every", "1"), ("bench", "-y"), ("demo",)]
)
def test_ids_of_what_has_none_are_refused_before_anything_is_done(arguments: tuple[str, ...]) -> None:
    asked: list[str] = []
    session = type("Untouched", (Session,), {"__getattribute__": lambda _, name: asked.append(name)})()
    result = CliRunner().invoke(command_line, [*arguments, "-o", "ids"], obj=session)
    assert (result.exit_code, asked) == (ExitCode.USAGE, [])
    assert "'ids' is not one of 'table', 'json', 'jsonl'" in result.stderr


def test_an_empty_list_leaves_standard_output_empty(capsys: pytest.CaptureFixture[str]) -> None:
    for format in ("table", "jsonl", "ids"):  # noqa: A001
        Output(format).many([], COLUMNS, empty="None.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "None.\n")


def test_a_table_cuts_no_id(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    shown = written(capsys, "table", rows=[{"job_id": "x" * 40, "n": 1}])
    assert shown.count("x") == 40


def test_no_color_leaves_no_escape_codes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    styled = [Column("job", lambda row: str(row["job_id"]), "red")]
    monkeypatch.setenv("FORCE_COLOR", "1")
    Output("table").many(ROWS, styled, empty="")
    assert "\x1b[31m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    Output("table").many(ROWS, styled, empty="")
    assert "\x1b[31m" not in capsys.readouterr().out


# --- times
@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_500, "1.5 s"),
        (12_000, "12 s"),
        (60_000, "1 min"),
        (200_000, "3 min 20 s"),
        (7_260_000, "2 h 1 min"),
        (187_200_000, "2 d 4 h"),
        (-5, "0 ms"),
    ],
)
def test_a_span_is_told_in_its_two_largest_units(milliseconds: int, text: str) -> None:
    assert span(milliseconds) == text


def test_moments_are_told_from_now() -> None:
    assert [relative(NOW - 12_000, NOW), relative(NOW + 12_000, NOW), relative(0, NOW)] == ["12 s ago", "in 12 s", "-"]


def test_iso_times_are_utc_with_milliseconds() -> None:
    assert iso(1_750_000_000_123) == "2025-06-15T15:06:40.123Z"
    assert iso(0) is None


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("90", 90_000), ("10s", 10_000), ("1.5m", 90_000), ("2h", 7_200_000), ("250ms", 250)]
)
def test_durations_are_read(text: str, milliseconds: int) -> None:
    assert Duration().convert(text, None, None) == milliseconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "5 weeks", "nan", "1e9"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(click.BadParameter, match="10s, 5m"):
        Duration().convert(text, None, None)


def test_a_moment_needs_its_zone() -> None:
    assert Moment().convert("2025-06-15T17:06:40+02:00", None, None) == NOW
    assert Moment().convert("2025-06-15T15:06:40Z", None, None) == NOW
    with pytest.raises(click.BadParameter, match="no time zone; write 2025-06-15T15:06:40Z"):
        Moment().convert("2025-06-15T15:06:40", None, None)
    with pytest.raises(click.BadParameter, match="ISO 8601"):
        Moment().convert("tomorrow", None, None)


# --- records
def running() -> Job:
    """Make a job in its second attempt, with everything that a record can show."""
    failure = Failure(kind=FailureKind.ORPHANED, message="worker lost", at=NOW - 5_000)
    return Job(
        job_id="a",
        task="shop.charge",
        queue="default",
        status=JobStatus.PROCESSING,
        attempt=2,
        charged=2,
        max_attempts=3,
        payload={"args": ["secret"], "kwargs": {}},
        created_at=NOW - 60_000,
        available_at=NOW - 60_000,
        claimed_at=NOW - 1_000,
        lease_expires_at=NOW + 4_000,
        claim_token="token-now",
        history=(Attempt(attempt=1, outcome="orphan-retry", claim_token="token-then", failure=failure),),
    )


def test_a_record_shows_the_payload_only_when_asked() -> None:
    hidden = job_record(running())
    assert hidden["payload"] == {"redacted": True, "bytes": 31}
    assert "secret" not in json.dumps(hidden)
    assert job_record(running(), payload=True)["payload"] == {"args": ["secret"], "kwargs": {}}


def test_a_record_never_shows_a_claims_token() -> None:
    assert "token" not in json.dumps(job_record(running(), payload=True))


def test_a_record_has_every_time_for_people_and_for_programs() -> None:
    record = job_record(running())
    assert (record["claimed_at"], record["claimed_at_ms"]) == (iso(NOW - 1_000), NOW - 1_000)
    assert (record["finished_at"], record["finished_at_ms"]) == (None, None)


def test_records_of_all_states_have_the_same_fields() -> None:
    fresh = Job(job_id="b", task="t", queue="default", status=JobStatus.PENDING)
    assert job_record(fresh).keys() == job_record(running()).keys()


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"status": "PENDING", "available_at_ms": NOW - 2_000}, "waiting for 2.0 s"),
        ({"status": "PENDING", "available_at_ms": NOW + 2_000}, "due in 2.0 s"),
        ({"status": "PROCESSING"}, "lease ends in 4.0 s"),
        ({"status": "PROCESSING", "lease_expires_at_ms": NOW - 3_000}, "orphan: lease ended 3.0 s ago"),
        (
            {"status": "FAILED", "failure": {"kind": "TIMEOUT", "exception": "", "message": "too slow"}},
            "TIMEOUT: too slow",
        ),
        (
            {"status": "FAILED", "failure": {"kind": "TRANSIENT", "exception": "shop.Down", "message": "503"}},
            "TRANSIENT Down: 503",
        ),
        ({"status": "COMPLETED", "finished_at_ms": NOW}, "took 1.0 s"),
    ],
)
def test_a_row_says_what_matters_most(changes: dict[str, Any], remark: str) -> None:
    assert remark_on({**job_record(running()), **changes}, NOW) == remark


def test_a_rows_columns_name_job_state_and_attempt() -> None:
    row = job_record(running())
    assert [column.cell(row) for column in columns(NOW)][:5] == ["a", "PROCESSING", "shop.charge", "default", "2 of 3"]
    assert "secret" in columns(NOW, payload=True)[-1].cell(job_record(running(), payload=True))
