"""Where a log line goes in a program that configured nothing, standard logging, or structlog."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import pytest
import structlog
from structlog.testing import capture_logs

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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "b count=1\n")


def test_structlog_gets_them_where_the_program_configured_it(caplog: pytest.LogCaptureFixture) -> None:
    structlog.configure()
    with capture_logs() as lines:
        log.warning("limits.unavailable", job_id="1")
    message = EVENTS["limits.unavailable"].message
    assert lines == [{"event": "limits.unavailable", "message": message, "job_id": "1", "log_level": "warning"}]
    assert caplog.records == []
