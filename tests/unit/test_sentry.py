"""What becomes of log lines that Sentry would make events of."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from jobclaim.jobs.events import EVENTS
from jobclaim.jobs.log import Fields
from jobclaim.workers.telemetry import sentry

ORPHAN = {"task": "shop.mail", "job_id": "j-1", "exception": "billiard.exceptions.WorkerLostError", "kind": "ORPHANED"}
BEAT = "jobclaim.heartbeat"
EVENT = {"level": "error", "logentry": {"message": "as Sentry has it"}}


def record(name: str, message: Any, *args: Any) -> dict[str, Any]:
    return {"log_record": logging.LogRecord(name, logging.ERROR, __file__, 1, message, args, None)}


@pytest.mark.parametrize(
    "hint",
    [
        pytest.param(record("jobclaim.jobs", {"event": sentry.FAILED, **ORPHAN}), id="structlog"),
        pytest.param(
            record("jobclaim.jobs", f"{sentry.FAILED}: The job failed. %s", Fields(ORPHAN)), id="standard logging"
        ),
    ],
)
def test_a_failure_that_no_code_raised_is_grouped_by_task_and_exception(hint: Any) -> None:
    told = sentry.process(EVENT, hint)
    assert told["fingerprint"] == ["jobclaim", "shop.mail", "billiard.exceptions.WorkerLostError"]
    assert [each["type"] for each in told["exception"]["values"]] == ["WorkerLostError"]
    assert told["tags"] == {"celery_task_id": "j-1", "celery_task": "shop.mail"}
    assert told["extra"] == ORPHAN


@pytest.mark.parametrize(
    "hint",
    [
        pytest.param(
            record("jobclaim.heartbeat", {"event": "heartbeat.failed", "message": "It failed.", "missed": 2}),
            id="structlog",
        ),
        pytest.param(
            record(BEAT, "heartbeat.failed: It failed. %s", Fields({"missed": 2})),
            id="standard logging",
        ),
        pytest.param(record(BEAT, "heartbeat.failed: It failed."), id="no fields"),
    ],
)
def test_another_line_of_ours_is_grouped_by_its_code_whatever_its_fields(hint: Any) -> None:
    told = sentry.process(EVENT, hint)
    assert told["fingerprint"] == ["jobclaim", BEAT, "heartbeat.failed"]
    assert told["logentry"] == {"message": "heartbeat.failed: It failed."}
    assert told["extra"] in ({"missed": 2}, {})


@pytest.mark.parametrize(
    "hint",
    [None, {}, record("shop.mail", "no such customer"), record("multiprocessing", "another line")],
    ids=["no hint", "an exception", "the host's line", "another line of billiard"],
)
def test_what_is_not_ours_is_left_as_it_is(hint: Any) -> None:
    assert sentry.process(EVENT, hint) is EVENT


@pytest.mark.parametrize("name", sentry.OF_CELERY)
def test_celerys_line_on_a_killed_child_is_dropped(name: str) -> None:
    assert sentry.process(EVENT, record(name, sentry.OF_CELERY[name], "w", 1, "signal 9")) is None


def test_the_processor_is_added_once_and_only_where_sentry_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sentry_sdk.scope", raising=False)
    sentry.adopt()
    known: list[Any] = []
    monkeypatch.setitem(
        sys.modules,
        "sentry_sdk.scope",
        SimpleNamespace(global_event_processors=known, add_global_event_processor=known.append),
    )
    sentry.adopt()
    sentry.adopt()
    assert known == [sentry.process]


def test_the_code_of_a_failure_is_that_of_the_registry() -> None:
    assert sentry.FAILED in EVENTS
