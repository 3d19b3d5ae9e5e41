"""jobclaim's lines that skip standard logging say what they would say through it, and skip it only where nobody
listens there."""

from __future__ import annotations

import contextvars
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from celery import Celery, Task, _state

from jobclaim.jobs import log
from jobclaim.settings import Settings
from jobclaim.workers import JobTask
from jobclaim.workers.telemetry import logs

SECRET = "hunter2"
LINES = log.get_logger("jobclaim.test")


class Seen(logging.Filter):
    """Counts records, and lets them pass."""

    count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        self.count += 1
        return True


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The text that a worker's log writes; logging is restored."""
    root, written = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    logs.configure(Settings(log_format="json"))
    root.handlers[0].setStream(written)  # type: ignore[attr-defined]
    yield written
    log.write_directly(None)
    structlog.reset_defaults()
    root.handlers[:], root.level = before, level


def nothing() -> None:
    """The body of a task."""


def say() -> None:
    with structlog.contextvars.bound_contextvars(job_id="j", task="t"):
        try:
            raise ValueError(SECRET)
        except ValueError:
            LINES.exception("job.failed", kind="EXTERNAL", reason=f"{SECRET!r} is wrong", other=SECRET, queue="ä")


def parsed(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_says_the_same_either_way(out: io.StringIO) -> None:
    say()
    seen = Seen()
    logging.getLogger().handlers[0].addFilter(seen)
    say()
    direct, long = parsed(out)
    assert seen.count == 1, "the first one made no record"
    assert direct.pop("timestamp")[-1] == long.pop("timestamp")[-1] == "Z"
    assert direct == long
    assert SECRET not in out.getvalue()


@pytest.mark.parametrize("where", ["another handler", "a filter of the logger", "a handler between", "sentry"])
def test_whoever_listens_to_standard_logging_gets_the_record(
    out: io.StringIO, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, logger, handler = Seen(), logging.getLogger("jobclaim.test"), logging.NullHandler()
    handler.handle = seen.filter  # type: ignore[method-assign]
    if where == "another handler":
        logging.getLogger().addHandler(handler)
    elif where == "a filter of the logger":
        monkeypatch.setattr(logger, "filters", [seen])
    elif where == "a handler between":
        monkeypatch.setattr(logging.getLogger("jobclaim"), "handlers", [handler])
    else:
        original = logging.Logger.callHandlers

        def patched(self: logging.Logger, record: logging.LogRecord) -> None:
            seen.filter(record)
            original(self, record)

        monkeypatch.setattr(logging.Logger, "callHandlers", patched)
    LINES.info("job.completed", job_id="j")
    assert seen.count == 1
    assert [line["event"] for line in parsed(out)] == ["job.completed"]


def test_a_program_that_configures_structlog_itself_gets_them(out: io.StringIO) -> None:
    events: list[str] = []

    def take(_: Any, __: str, event: Any) -> Any:
        events.append(event["event"])
        raise structlog.DropEvent

    structlog.configure(processors=[take])
    LINES.info("job.completed", job_id="j")
    assert (events, out.getvalue()) == (["job.completed"], "")


@pytest.mark.usefixtures("out")
@pytest.mark.parametrize(
    ("names", "are_made"), [(("shop.job", "celery.other"), False), (("shop.job", "shop.plain"), True)]
)
def test_celerys_lines_about_attempts_are_made_only_where_a_task_is_plain(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], are_made: bool
) -> None:
    app, trace = Celery(set_as_current=False), logging.getLogger("celery.app.trace")
    monkeypatch.setattr(trace, "level", logging.NOTSET)
    bases = {"shop.job": JobTask}
    tasks = [app.task(name=name, base=bases.get(name, Task))(nothing) for name in names]
    logs.skip_lines_of_jobs(tasks)
    assert (trace.level == logging.NOTSET) is are_made


@pytest.mark.usefixtures("out")
@pytest.mark.parametrize(
    ("base", "filtered", "is_made"), [(JobTask, True, False), (JobTask, False, True), (Task, True, True)]
)
def test_celery_makes_a_line_about_an_attempt_only_if_it_would_be_written(
    monkeypatch: pytest.MonkeyPatch, base: Any, filtered: bool, is_made: bool
) -> None:
    app, trace, made = Celery(set_as_current=False), logging.getLogger("celery.app.trace"), list[str]()
    monkeypatch.setattr(trace, "level", logging.NOTSET)
    monkeypatch.setattr(trace, "_log", lambda _, message, *__, **___: made.append(message))
    if not filtered:
        monkeypatch.setattr(trace, "filters", [])
    _state._task_stack.push(app.task(name="shop.task", base=base)(nothing))
    try:
        trace.error("failed")
    finally:
        _state._task_stack.pop()
    trace.error("outside")
    assert made == (["failed", "outside"] if is_made else ["outside"])


def test_the_fields_that_are_bound_are_those_that_structlog_tells() -> None:
    contextvars.ContextVar[int]("structlog").set(1)
    with structlog.contextvars.bound_contextvars(job_id="j", structlog_=None, gone=1):
        structlog.contextvars.unbind_contextvars("gone")
        assert log.bound_fields() == structlog.contextvars.get_contextvars()
        assert log.bound_fields().items() >= {"job_id": "j", "structlog_": None}.items()


def test_a_level_that_is_off_writes_nothing(out: io.StringIO) -> None:
    logging.getLogger().setLevel(logging.WARNING)
    LINES.info("job.completed", job_id="j")
    assert out.getvalue() == ""


def test_a_stream_that_fails_breaks_nothing(out: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    def full(_: str) -> int:
        raise OSError(28, "No space left on device")

    out.write = full  # type: ignore[method-assign]
    LINES.info("job.completed", job_id="j")
    assert "No space left" in capsys.readouterr().err, "as standard logging reports it"


def test_a_rotated_file_is_opened_again(tmp_path: Path, out: io.StringIO) -> None:
    path = tmp_path / "worker.log"
    logs.configure(Settings(log_format="json"), file=str(path))
    LINES.info("job.completed", job_id="1")
    path.rename(tmp_path / "worker.log.1")
    LINES.info("job.completed", job_id="2")
    logging.getLogger().handlers[0].close()
    assert [json.loads(line)["job_id"] for line in path.read_text().splitlines()] == ["2"]
