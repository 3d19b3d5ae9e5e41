"""Where a log line goes in a program that configured nothing, standard logging, or structlog."""

from __future__ import annotations

import contextvars
import io
import logging
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from jobclaim.jobs import log as logs
from jobclaim.jobs.events import EVENTS
from jobclaim.jobs.log import get_logger

log = get_logger("jobclaim.unit")


@pytest.fixture(autouse=True)
def unconfigured() -> None:
    structlog.reset_defaults()


def test_nothing_is_printed_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    log.info("job.submitted", job_id="1")
    log.warning("message not sent", job_id="1")
    assert capsys.readouterr().out == ""


def test_standard_logging_gets_the_event_and_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "jobclaim"):
        log.info("job.submitted", job_id="1", queue="50%")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("jobclaim.unit", logging.INFO)
    assert record.getMessage() == "job.submitted: A job was written job_id=1 queue=50%"
    assert record.funcName == "test_standard_logging_gets_the_event_and_its_fields"


def test_a_level_that_is_off_costs_no_text(caplog: pytest.LogCaptureFixture) -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("it was written")

    with caplog.at_level(logging.ERROR, "jobclaim"):
        log.info("job.submitted", job=Costly())
    assert caplog.records == []


def test_an_exception_goes_along(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("pass failed", queue="default")
    [record] = caplog.records
    assert record.exc_info
    assert record.exc_info[0] is ValueError
    assert record.funcName == "test_an_exception_goes_along"
    assert record.getMessage() == "pass failed queue=default"


def test_standard_logging_sees_no_value_that_was_not_registered(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("s3cret")
    except ValueError:
        log.exception("tick.refused", password="s3cret", reason="payload 's3cret' of task 'shop.pay'")
    assert "s3cret" not in caplog.text.replace('raise ValueError("s3cret")', "")
    assert "of task 'shop.pay'" in caplog.text
    assert "builtins.ValueError" in caplog.text


def test_fields_are_attributes_of_the_record_for_formatters_that_write_json(caplog: pytest.LogCaptureFixture) -> None:
    structlog.contextvars.bind_contextvars(job_id="j-1", customer="c-1")
    log.warning("message not sent", attempt=2)
    [record] = caplog.records
    assert (vars(record)["job_id"], vars(record)["attempt"]) == ("j-1", 2)
    assert "customer" not in vars(record)


@pytest.mark.parametrize("how", ["structlog", "logging"])
def test_a_line_whose_stream_is_closed_breaks_nothing(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    if how == "structlog":
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(closed))
    else:
        logging.getLogger().handlers[:] = [logging.StreamHandler(closed)]
        monkeypatch.setattr(sys, "stderr", closed)
    log.error("counts.not_written", reason="the program ends")


def test_an_error_of_the_programs_own_structlog_is_not_hidden() -> None:
    def broken(*_: object) -> object:
        raise ValueError("a processor's mistake")

    structlog.configure(processors=[broken])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="mistake"):
        log.error("counts.not_written")


def test_a_program_that_configured_nothing_prints_warnings_to_standard_error_alone() -> None:
    code = (
        "from jobclaim.jobs.log import get_logger; x = get_logger('jobclaim.x'); x.info('a'); x.warning('b', count=1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert (done.stdout, done.stderr) == ("", "b count=1\n")


def test_structlog_gets_them_where_the_program_configured_it(caplog: pytest.LogCaptureFixture) -> None:
    structlog.configure()
    with capture_logs() as lines:
        log.warning("limits.unavailable", job_id="1")
    message = EVENTS["limits.unavailable"].message
    assert lines == [{"event": "limits.unavailable", "message": message, "job_id": "1", "log_level": "warning"}]
    assert caplog.records == []


# --- levels, observers, apps and writers
@pytest.mark.parametrize(
    ("method", "level"), [("debug", logging.DEBUG), ("info", logging.INFO), ("warning", logging.WARNING),
                          ("error", logging.ERROR), ("exception", logging.ERROR)],
)  # fmt: skip
def test_each_method_has_its_level_with_fields_and_without(
    caplog: pytest.LogCaptureFixture, method: str, level: int
) -> None:
    with caplog.at_level(logging.DEBUG, "jobclaim"):
        getattr(log, method)("nothing happened")
        getattr(log, method)("nothing happened", queue="a b")
    assert [record.levelno for record in caplog.records] == [level] * 2
    assert [record.getMessage() for record in caplog.records] == ["nothing happened", "nothing happened queue='a b'"]
    here = "test_each_method_has_its_level_with_fields_and_without"
    assert [record.funcName for record in caplog.records] == [here] * 2


def test_an_exception_goes_along_without_fields_too(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("pass failed")
    [record] = caplog.records
    assert record.exc_info
    assert record.exc_info[0] is ValueError


def test_values_are_quoted_where_they_could_be_taken_for_something_else() -> None:
    fields = {"a": "x", "b": "", "c": "x y", "d": 'x"', "e": "x'", "f": "x=y", "g": 5}

    assert str(logs.Fields(fields)) == "a=x b='' c='x y' d='x\"' e=\"x'\" f='x=y' g=5"


class App:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def apps(monkeypatch: pytest.MonkeyPatch) -> list[App]:
    """Two apps, of which this process knows none yet."""
    monkeypatch.setattr(logs, "_apps", set())
    return [App("shop"), App("mail")]


def test_lines_name_their_app_once_there_are_two(apps: list[App]) -> None:
    named: list[Any] = []

    def speak() -> None:
        with capture_logs() as lines:
            log.debug("job.failed")
            with logs.speaking_for(apps[0]):
                log.debug("job.failed")
                log.debug("job.failed", app="mine")
            log.debug("job.failed")
        named.append([line.get("app") for line in lines])

    for app in apps:
        logs.add_app(app)
        speak()
    assert named == [[None, None, "mine", None], [None, "shop", "mine", None]]
    context = contextvars.copy_context()
    context.run(logs.speak_for, apps[1])
    context.run(speak)
    assert named[-1] == ["mail", "shop", "mine", "mail"]


def test_an_observer_hears_of_every_event_of_its_app_written_or_not(apps: list[App]) -> None:
    heard: dict[str, list[Any]] = {"all": [], "shop": []}
    logs.observe("all", lambda *about: heard["all"].append(about))
    logs.observe("shop", lambda _, __, line: heard["shop"].append(line["n"]), apps[0])
    try:
        structlog.contextvars.bind_contextvars(job_id="j")
        log.debug("job.failed", n=0)
        for n, app in enumerate(apps, start=1):
            with logs.speaking_for(app):
                log.debug("job.failed", n=n)
    finally:
        structlog.contextvars.clear_contextvars()
        for name in heard:
            logs.observe(name, None)
    log.debug("job.failed", n=9)

    assert heard["shop"] == [0, 1]
    assert [about[2]["n"] for about in heard["all"]] == [0, 1, 2]
    assert heard["all"][0] == (None, "debug", {"event": "job.failed", "logger": log.name, "job_id": "j", "n": 0})


@pytest.mark.parametrize("takes", [True, False])
def test_a_writer_is_offered_each_line_masked_and_structlog_gets_what_it_does_not_take(takes: bool) -> None:
    offered: list[Any] = []

    def write(lines: logging.Logger, level: int, event: str, fields: dict[str, Any]) -> bool:
        offered.append((lines.name, level, event, dict(fields)))
        return takes

    logs.write_directly(write)
    try:
        with capture_logs() as lines:
            log.warning("job.failed", password="s3cret")
    finally:
        logs.write_directly(None)
        with capture_logs() as after:
            log.warning("job.failed")

    assert offered == [(log.name, logging.WARNING, "job.failed", {"password": "[masked]"})]
    assert (len(lines), len(after)) == (0 if takes else 1, 1)


@pytest.mark.parametrize(
    ("error", "hidden"),
    [(BrokenPipeError(), True), (ValueError("I/O operation on closed file."), True), (OSError("disk full"), False)],
)
def test_only_a_closed_stream_is_passed_over(error: Exception, hidden: bool) -> None:
    def broken(*_: object) -> object:
        raise error

    structlog.configure(processors=[broken])  # type: ignore[list-item]
    with nullcontext() if hidden else pytest.raises(OSError, match="disk full"):
        log.error("counts.not_written")


def test_structlog_gets_an_exception_without_its_message() -> None:
    other = get_logger("jobclaim.other")
    with capture_logs() as lines:
        try:
            raise ValueError("s3cret")
        except ValueError:
            other.exception("job.failed")
    assert other.name == "jobclaim.other"
    assert lines[0]["exception"].endswith("builtins.ValueError")
    assert "exc_info" not in lines[0]
