"""Where a log line goes in a program that configured nothing, standard logging, or structlog."""

from __future__ import annotations

import logging

import pytest
import structlog
from structlog.testing import capture_logs

from jobclaim.jobs.log import get_logger

log = get_logger("jobclaim.unit")


@pytest.fixture(autouse=True)
def unconfigured() -> None:
    structlog.reset_defaults()


def test_nothing_is_printed_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    log.info("submitted", job_id="1")
    log.warning("message not sent", job_id="1")
    assert capsys.readouterr().out == ""


def test_standard_logging_gets_the_event_and_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "jobclaim"):
        log.info("submitted", job_id="1", queue="50%")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("jobclaim.unit", logging.INFO)
    assert record.getMessage() == "submitted job_id=1 queue=50%"
    assert record.funcName == "test_standard_logging_gets_the_event_and_its_fields"


def test_a_level_that_is_off_costs_no_text(caplog: pytest.LogCaptureFixture) -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("it was written")

    with caplog.at_level(logging.ERROR, "jobclaim"):
        log.info("submitted", job=Costly())
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


def test_structlog_gets_them_where_the_program_configured_it(caplog: pytest.LogCaptureFixture) -> None:
    structlog.configure()
    with capture_logs() as lines:
        log.warning("message not sent", job_id="1")
    assert lines == [{"event": "message not sent", "job_id": "1", "log_level": "warning"}]
    assert caplog.records == []
