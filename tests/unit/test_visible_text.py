"""No character that commands a terminal or turns the direction of a text leaves any face as it is."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobclaim.cli import main
from jobclaim.cli.commands.dead.columns import COLUMNS as DEAD_COLUMNS
from jobclaim.cli.errors import Refused
from jobclaim.cli.job_columns import columns
from jobclaim.cli.job_view import draw_job
from jobclaim.cli.output import FORMATS, Output, remark
from jobclaim.cli.session import quiet_logs
from jobclaim.jobs import Attempt, Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.log import Fields
from jobclaim.settings import Settings
from jobclaim.specs.visible import visible, visible_json
from jobclaim.views.records import job_record
from jobclaim.workers.telemetry import logs
from tests.support.volume import volume

NOW = 1_750_000_000_000
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]"
)
CLIPBOARD = "\x1b]52;c;cm0gLXJmIC8=\x07"
ATTACKS = (CLIPBOARD, "\x9b31m", "\x1b[8mhidden", "\x7f", "\u202egnp.exe", "\u2066", "\u200f", "\u061c", "\r", "\u2028")
HOSTILE = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(ATTACKS), max_size=4).map("x".join))


def job_of(text: str) -> Job:
    """Make a failed job all of whose texts are this one, as a hand-written item may have them."""
    failure = Failure(
        kind=FailureKind.PERMANENT,
        exception=text,
        message=text,
        traceback=f"Traceback\n\t{text}",
        at=NOW,
        where=text,
        fingerprint=text,
    )
    attempt = Attempt(attempt=1, claimed_at=NOW, ended_at=NOW, outcome=text, worker_id=text, failure=failure)
    return Job(
        job_id=text,
        task=text,
        queue=text,
        status=JobStatus.FAILED,
        payload={text: [text]},
        created_at=NOW,
        available_at=NOW,
        finished_at=NOW,
        failure=failure,
        history=(attempt,),
        result={text: text},
        idempotency_key=text,
        worker_id=text,
        celery_task_id=text,
    )


@settings(max_examples=volume(150), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=HOSTILE)
@pytest.mark.parametrize("format", FORMATS)
def test_no_field_of_a_job_leaves_the_command_line_as_it_is(
    format: Any,  # noqa: A002
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job, out = job_of(text), Output(format)
    out.one(job_record(job, payload=True), lambda: draw_job(job, text, now=NOW, payload=True))
    out.many([job_record(job, payload=True)], columns(NOW, payload=True), empty=text)
    out.many([job_record(job)], DEAD_COLUMNS(NOW), empty=text)
    out.fact({"job_id": text}, text)
    remark(text)
    Refused(text).show()
    written = capsys.readouterr()
    assert UNSAFE.search(written.out + written.err) is None, (written.out, written.err)


@given(text=st.text())
def test_json_says_the_same_to_a_parser(text: str) -> None:
    written = visible_json(json.dumps({text: text}, ensure_ascii=False))
    assert UNSAFE.search(written) is None
    assert json.loads(written) == {text: text}


def test_newlines_tabs_and_letters_of_all_scripts_stay() -> None:
    text = 'File "a.py"\n\tstraße 東京 עברית 👩\u200d🔬'
    assert visible(text) == text


@pytest.mark.parametrize(
    ("character", "shown"), [("\x1b", "\\x1b"), ("\x9b", "\\x9b"), ("\u202e", "\\u202e"), ("\U000e0041", "\\U000e0041")]
)
def test_what_is_unsafe_is_shown_as_python_writes_it(character: str, shown: str) -> None:
    assert visible(f"a{character}b") == f"a{shown}b"


def test_a_table_keeps_what_escapes_made_longer(capsys: pytest.CaptureFixture[str]) -> None:
    Output("table").many([job_record(job_of("\x1b"))], columns(NOW), empty="")
    assert "\\x1b" in capsys.readouterr().out


def test_text_that_was_not_drawn_is_escaped_when_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    Output("table").one({}, lambda: CLIPBOARD)
    assert "\\x1b]52;c;cm0gLXJmIC8=" in capsys.readouterr().out


def test_log_lines_for_people_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    handler = logs._handler(Settings(log_format="console"), None, written)
    record = logging.LogRecord("shop", logging.ERROR, "", 0, f"failed {CLIPBOARD}", (), error_of(CLIPBOARD))
    handler.emit(record)
    assert "failed \\x1b]52" in written.getvalue()
    assert UNSAFE.search(written.getvalue()) is None


def test_log_lines_of_the_command_line_show_them() -> None:
    import structlog

    written, before = io.StringIO(), structlog.get_config()
    try:
        quiet_logs(file=written)
        structlog.get_logger().warning(f"event {CLIPBOARD}", reason="\u202e", exc_info=error_of(CLIPBOARD))
    finally:
        structlog.configure(**before)
    assert "\\x1b]52;c;" in written.getvalue()
    assert "\x1b]52" not in written.getvalue()
    assert "\u202e" not in written.getvalue()


def test_fields_of_standard_logging_show_them() -> None:
    assert UNSAFE.search(str(Fields({"reason": f"{CLIPBOARD}\u202e", "task": "\x9b"}))) is None


def test_the_traceback_of_debug_shows_them(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(main, "command_line", lambda **_: None)
    main.main()
    kind, error, where = error_of(CLIPBOARD)
    sys.excepthook(kind, error, where)
    assert "RuntimeError: \\x1b]52;c;" in capsys.readouterr().err


def error_of(message: str) -> tuple[type[BaseException], BaseException, Any]:
    """Make an exception that was raised."""
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return type(error), error, error.__traceback__
