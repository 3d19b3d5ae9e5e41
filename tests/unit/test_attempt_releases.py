"""What a retry, a release and a snooze write before they send the job's message."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from jobclaim.jobs import (
    ClaimLost,
    InvalidInput,
    JobNotFound,
    StoreUnavailable,
)
from jobclaim.jobs.protocol.releases import Held
from jobclaim.workers.attempt import returning as module
from jobclaim.workers.attempt.returning import ReturningTask, Snoozed
from jobclaim.workers.telemetry import traces
from tests.unit.test_attempt_returning import JOB, NOW, a_task, released


@pytest.fixture
def sent() -> Iterator[MagicMock]:
    with patch.object(module, "publish_if_due", return_value="sent") as publish:
        yield publish


@pytest.mark.parametrize(
    ("args", "queue", "changed"),
    [
        (((1,), {"two": 2}), "mail", {}),
        (((1,), {"two": 2}), None, {}),
        (((1,), {"two": 3}), "default", {"payload": True, "queue": "default"}),
    ],
)
def test_a_retry_is_written_before_it_is_sent_and_names_only_what_has_changed(
    sent: MagicMock, args: Any, queue: str | None, changed: dict[str, Any]
) -> None:
    task = a_task()
    task.request.retry_cause = SoftTimeLimitExceeded()
    after = task.jobclaim.repo.reschedule.return_value
    with patch.object(traces, "ended") as ended:
        told = ReturningTask._reschedule(task, args[0], args[1], 7, queue, {"priority": 3, "other": 1})
    assert told == "sent"
    given = task.jobclaim.repo.reschedule.call_args
    assert given.args == ("j",)
    assert {name: given.kwargs[name] for name in ("available_at", "error", "kind", "token")} == {
        "available_at": 7,
        "error": task.request.retry_cause,
        "kind": "TIMEOUT",
        "token": "token",
    }
    assert {name for name in given.kwargs if name in ("payload", "queue")} == changed.keys()
    assert given.kwargs.get("queue") == changed.get("queue")
    assert task._make_room.called
    assert ended.call_args.args == (task.jobclaim.settings, JOB, "retry")
    assert ended.call_args.kwargs == {"at": NOW, "exception": "SoftTimeLimitExceeded"}
    assert sent.call_args.args == (task.app, after)


def test_a_retry_without_a_cause_has_no_kind(sent: MagicMock) -> None:
    task = a_task()
    task.request.retry_cause = None
    with patch.object(traces, "ended") as ended:
        ReturningTask._reschedule(task, (1,), {"two": 2}, None, None, {})
    assert task.jobclaim.repo.reschedule.call_args.kwargs["kind"] is None
    assert ended.call_args.kwargs["exception"] == ""


def test_a_release_is_sent_and_one_that_is_refused_is_not(sent: MagicMock) -> None:
    task, release = a_task(), MagicMock()
    with patch.object(traces, "ended") as ended:
        ReturningTask._release_claimed(task, release)
        for error in (StoreUnavailable("away"), ClaimLost("x"), JobNotFound("x")):
            release.side_effect = error
            ReturningTask._release_claimed(task, release)
    assert release.call_args.args == ("j",)
    assert release.call_args.kwargs == {"token": "token"}
    assert [one.args for one in sent.call_args_list] == [(task.app, release.return_value)]
    assert [(one.args, one.kwargs) for one in ended.call_args_list] == [
        ((task.jobclaim.settings, JOB, "release"), {"at": NOW})
    ]


def test_a_snooze_frees_its_slot_and_releases_its_job_with_its_reason() -> None:
    task, steps = a_task(), list[str]()
    task._make_room.side_effect = lambda: steps.append("room")
    task._release_claimed.side_effect = lambda _: steps.append("release")
    with pytest.raises(Snoozed, match="no file yet"):
        ReturningTask.snooze(task, 5, "no file yet")
    assert released(task) == {"available_at": NOW + 5_000, "reason": "no file yet", "held": Held.SNOOZE}
    assert steps == ["room", "release"]
    task.request = SimpleNamespace()
    with pytest.raises(InvalidInput, match="outside a running job"):
        ReturningTask.snooze(task, 5)
