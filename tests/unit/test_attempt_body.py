"""The claims that a body makes itself: what the main process is told of them, and what ends those that stay open."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from jobclaim.jobs import FailureKind, Job, JobRepo, JobStatus
from jobclaim.jobs.model import Failure
from jobclaim.settings import Settings
from jobclaim.workers.attempt import ending, leaving, outcome, running, soft_limit
from jobclaim.workers.attempt.body import BodyDelivery
from jobclaim.workers.messages.message import DELIVERY, HEADER
from jobclaim.workers.state import worker
from jobclaim.workers.telemetry import traces
from tests.support.clock import ManualClock

NOW = 9_000_000
BROKEN = ValueError("it broke")


def claim(job_id: str = "j", token: str = "", **more: Any) -> Job:
    fields = {
        "task": "t",
        "queue": "default",
        "status": JobStatus.PROCESSING,
        "claim_token": token or f"token-{job_id}",
    }
    return Job(job_id=job_id, **{**fields, **more})


class World:
    """A body's delivery, with a repo and a worker that write down what they are asked."""

    def __init__(self, **request: Any) -> None:
        self.repo: Any = MagicMock(spec=JobRepo)
        self.repo.settings = Settings(_env_file=None)
        self.repo.clock = ManualClock(NOW)
        self.worker = MagicMock(worker_id="w1")
        self.worker.is_cancelled.side_effect = lambda token: token in self.cancelled
        self.worker.claims_of.return_value = []
        self.cancelled: set[str] = set()
        self.task: Any = SimpleNamespace(name="t", app="the app", request=SimpleNamespace(job=None))
        self.request: Any = Request(id="c", **request)
        with patch.object(worker, "current", return_value=self.worker):
            self.body = BodyDelivery(self.task, self.request, "key")

    def claimed(self, *claims: Job) -> None:
        for one in claims:
            self.body.asks(one.job_id, one.claim_token)
            self.body.claimed(self.repo, one)

    def dropped(self) -> list[str]:
        return [one.args[0] for one in self.worker.drop.call_args_list]


class Request(dict[str, Any]):
    """A request as Celery has it: read by name and by attribute."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def addressed(job_id: str = "j", attempt: int = 3) -> dict[str, Any]:
    return {HEADER: {"job_id": job_id, "attempt": attempt}}


@pytest.fixture
def make() -> Iterator[Any]:
    """Make worlds whose worker is the process's own."""
    with patch.object(worker, "current") as current, patch.object(traces, "enter"), patch.object(traces, "ended"):

        def made(**request: Any) -> World:
            world = World(**request)
            current.return_value = world.worker
            return world

        yield made


# --- calls from the repo
def test_a_body_claims_as_its_worker_may_and_knows_its_pauses(make: Any) -> None:
    world = make()
    assert world.body.may_claim() is world.worker.may_claim.return_value
    assert world.body.pauses() is world.worker.pauses.return_value
    assert (world.body.worker_id, world.body.celery_task_id, world.body.waits) == ("w1", "c", True)
    assert world.body.is_retrying is False


def test_the_messages_own_job_is_claimed_for_its_attempt_once_and_for_its_task(make: Any) -> None:
    world = make(**addressed())
    assert [world.body.attempt_of(job_id) for job_id in ("j", "other")] == [3, None]
    assert [world.body.task_of(job_id) for job_id in ("j", "other")] == ["t", ""]
    world.body.asks("other", "token")
    assert world.body.attempt_of("j") == 3
    world.body.asks("j", "token")
    assert world.body.attempt_of("j") is None
    assert [one.args for one in world.worker.note.call_args_list] == [("key", "other", "token"), ("key", "j", "token")]
    nobodys = make()
    assert (nobodys.body.attempt_of("j"), nobodys.body.task_of("j")) == (None, "")


def test_a_claim_that_was_refused_is_dropped(make: Any) -> None:
    world = make()
    world.body.refused("j", "token")
    assert world.dropped() == ["token"]


@pytest.mark.parametrize(
    ("queue", "wait_ms", "missed"), [("default", 60_000, False), ("default", 60_001, True), ("gone", 90_000, False)]
)
def test_a_claim_is_logged_with_its_wait_and_traced_unless_its_task_claimed_before(
    make: Any, queue: str, wait_ms: int, missed: bool
) -> None:
    world = make()
    sla = round(world.repo.settings.queue("default").sla_seconds * 1000)
    wait_ms += sla - 60_000
    one = claim(queue=queue, available_at=NOW, claimed_at=NOW + wait_ms)
    with capture_logs() as lines:
        world.claimed(one)
    assert [(line["event"], line["wait_seconds"], line["sla_missed"]) for line in lines] == [
        ("claim.acquired", wait_ms / 1000, missed)
    ]
    assert [call.args for call in traces.enter.call_args_list] == [(world.repo.settings, one)]  # type: ignore[attr-defined]
    world.task.request.job = claim("before")
    world.claimed(claim("another"))
    assert traces.enter.call_count == 1  # type: ignore[attr-defined]


def test_log_lines_belong_to_the_job_that_was_claimed_last_and_is_still_held(make: Any) -> None:
    def body() -> list[Any]:
        world, seen = make(), []
        first, second = claim("first"), claim("second")
        steps: list[Any] = [
            lambda: world.claimed(first),
            lambda: world.claimed(second),
            lambda: world.body.lost(second, "gone"),
            lambda: world.body.lost(first, "gone"),
        ]
        for act in steps:
            act()
            seen.append(get_contextvars().get("job_id"))
        world.task.request.job = claim("before")
        world.claimed(claim("third"))
        return [*seen, get_contextvars().get("job_id")]

    assert contextvars.copy_context().run(body) == ["first", "second", "first", None, None]


def test_a_body_speaks_for_its_own_claims_alone(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world, remembered = make(), claim()
    assert world.body.claim_of("j", remembered) is remembered
    assert world.body.claim_of("j", None) is None
    older, newer = claim(token="older"), claim(token="newer")
    world.claimed(older, claim("other"), newer)
    assert world.body.claim_of("j", remembered) is newer
    monkeypatch.setattr(running, "current", lambda: "a thread's attempt")
    assert world.body.claim_of("third", claim("third")) is None
    for own, found in ((claim(token="mine"), None), (remembered, remembered)):
        of_task = make(job=own)
        assert of_task.body.claim_of("j", remembered) is found
        assert of_task.body.claim_of("j", None) is None
        assert of_task.body.claim_of("other", claim("other")) is None, "in a thread it may be another body's"
    monkeypatch.setattr(running, "current", lambda: None)
    other = claim("other")
    assert make(job=remembered).body.claim_of("other", other) is other


def test_writes_are_tried_as_long_as_the_attempt_may(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "write_until", lambda lease, now: (lease, now))
    assert make().body.write_until(claim(lease_expires_at=5), 7) == (5, 7)
    assert make().body.writing() is soft_limit.passes_by()


@pytest.mark.parametrize(("token", "sees"), [("key", True), ("token-j", True), ("token-other", False)])
def test_a_cancellation_of_the_message_or_of_a_claim_is_seen(make: Any, token: str, sees: bool) -> None:
    world = make()
    world.claimed(claim())
    world.cancelled = {token}
    assert world.body.sees_cancel() is sees
    assert world.request.get("cancel_seen", False) is sees
    assert world.body.cancelled(token)


@pytest.mark.parametrize("is_ending", [False, True])
def test_a_block_that_raised_is_ended_unless_the_process_is(make: Any, is_ending: bool) -> None:
    world = make(final_state=("SUCCESS", 1))
    with patch.object(leaving, "process_is_ending", return_value=is_ending), patch.object(ending, "end_claim") as end:
        assert world.body.left(world.repo, claim(), BROKEN) is True
    expected = [(world.task, world.repo, claim(), BROKEN, ("SUCCESS", 1))] * (not is_ending)
    assert [one.args for one in end.call_args_list] == expected


def test_the_end_of_a_claim_finishes_its_spans_once(make: Any) -> None:
    world, one = make(), claim(charged=1)
    failure = Failure(kind=FailureKind.TRANSIENT, message="x", exception="ValueError")
    afters = [
        (replace(one, status=JobStatus.COMPLETED), None),
        (replace(one, status=JobStatus.PENDING, failure=failure), ("retry", "ValueError")),
        (replace(one, status=JobStatus.PENDING, charged=0), ("release", "")),
    ]
    for after, traced in afters:
        traces.ended.reset_mock()  # type: ignore[attr-defined]
        world.body.ended(world.repo, one, after)
        assert not traces.ended.called, "it is not held"  # type: ignore[attr-defined]
        world.claimed(one)
        with patch.object(outcome, "end_spans") as end_spans, capture_logs() as lines:
            for _ in range(2):
                world.body.ended(world.repo, one, after)
        assert [call.args for call in end_spans.call_args_list] == [(world.repo, after)] * (traced is None)
        assert [(call.args, call.kwargs) for call in traces.ended.call_args_list] == [  # type: ignore[attr-defined]
            ((world.repo.settings, one, traced[0]), {"at": NOW, "exception": traced[1]}) for _ in range(1) if traced
        ]
        retried = traced is not None and traced[0] == "retry"
        assert [line["event"] for line in lines] == ["job.retry_scheduled"] * retried
    assert world.dropped() == [one.claim_token] * 3


def test_a_lost_claim_is_told_of_once(make: Any) -> None:
    world = make()
    with capture_logs() as lines:
        world.body.lost(claim(), "not held")
    assert lines == []
    world.claimed(claim())
    with capture_logs() as lines:
        world.body.lost(claim(), "gone")
        world.body.lost(claim(), "gone")
    assert [(line["event"], line["reason"]) for line in lines] == [("claim.lost", "gone")]
    assert world.body.open_claims() == []


# --- the message's own end
@pytest.mark.parametrize(
    ("changed", "ends"), [({}, True), ({"is_eager": True}, False), ({"called_directly": True}, False)]
)
def test_the_end_of_the_message_is_that_of_its_request_or_a_copy_of_it(
    make: Any, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], ends: bool
) -> None:
    monkeypatch.setattr("jobclaim.workers.attempt.body.installed_on", lambda _: "a handle")
    request = {"called_directly": False, "is_eager": False, DELIVERY: "key"}
    world = make(**request)
    assert world.body.is_of_request(world.request)
    assert world.body.is_of_request(Request(id="c", **(request | changed))) is ends
