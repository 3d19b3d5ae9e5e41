"""A message that no worker can run fails its job as any failure does: links, hooks and alerts hear of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import shared_task

from jobclaim.fleet.tally import Tally
from jobclaim.jobs import FailureKind, Job, JobStatus, StoreUnavailable, on_failure
from jobclaim.jobs.failures import hooks
from jobclaim.jobs.failures.dead import seal_policy
from jobclaim.jobs.protocol import releases
from jobclaim.jobs.repo import rescue
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from jobclaim.workers.messages.envelope import seal
from jobclaim.workers.messages.message import headers
from jobclaim.workers.process import poison
from jobclaim.workers.process.poison import PoisonHandler
from jobclaim.workers.transport.poisoned import Poisoned

TASK = "poison.of_next_week"
NEXT: dict[str, Any] = {"task": "poison.following", "args": [], "kwargs": {}, "options": {"task_id": "next"}}


@shared_task(base=JobTask, bind=True, name="poison.following")
def following(self: Any, number: int = 0) -> int:
    """Follow."""
    return number


class Kept(list[str]):
    """An SQS client that keeps the reasons of dead letters."""

    def send_message(self, *, MessageAttributes: dict[str, Any], **_: Any) -> None:  # noqa: N803 - boto3's names
        self.append(MessageAttributes["Reason"]["StringValue"])


class Desk:
    """A desk, and the receipts of what it has deleted."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.deleted: list[str] = []
        self.sqs = Kept()
        self._desk = PoisonHandler(harness.app, lambda: self.sqs, lambda _, receipt: self.deleted.append(receipt))

    def step(self, **options: Any) -> Job:
        """Write a step of a chain whose task is registered nowhere."""
        return self.harness.repo.create_job(TASK, queue="default", envelope=seal({"chain": [NEXT]}), **options)

    def last(self, **options: Any) -> Job:
        """Write such a step that has had all its messages."""
        job = self.step(**options)
        while job.dispatches < self.harness.repo.settings.max_dispatches:
            counted = rescue.dispatch(self.harness.repo, job)
            assert counted is not None
            job = counted
        return job

    def handle(self, job: Job, *, unregistered: bool = True, queue: str = "default") -> Job:
        """Deal with the job's message; give the job as it is then."""
        reason = f"{TASK} is not registered"
        message = Poisoned(queue, "http://queue", "receipt", "", reason, {"task": TASK, **headers(job)}, unregistered)
        self._desk.handle(message)
        return self.harness.job(job)


@pytest.fixture
def desk(jobclaim: Harness) -> Desk:
    return Desk(jobclaim)


@pytest.fixture
def kept(desk: Desk) -> list[str]:
    """Reasons of the dead letters."""
    return desk.sqs


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """Ids that the users' hook for failed jobs was called with."""
    told: list[str] = []

    def hook(job: Job) -> None:
        told.append(job.job_id)

    on_failure(hook)
    yield told
    hooks.forget(hook)


def test_a_step_whose_task_is_not_registered_fails_the_rest_of_its_chain(desk: Desk) -> None:
    job = desk.handle(desk.last())
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert job.failure.kind is FailureKind.CONFIGURATION
    assert desk.deleted == ["receipt"]
    desk.harness.drain()
    assert desk.harness.app.AsyncResult("next").state == "FAILURE"


def test_hooks_and_alerts_hear_of_it(desk: Desk, heard: list[str]) -> None:
    job = desk.handle(desk.last(failure_policy=seal_policy(None, critical=True)))
    assert heard == [job.job_id]
    assert Tally.of(desk.harness.repo).read().critical == 1


def test_a_step_that_is_too_late_besides_revokes_the_rest_of_its_chain(desk: Desk) -> None:
    job = desk.step(start_by=desk.harness.clock() + 1_000)
    desk.harness.travel(2)
    assert desk.handle(job).status is JobStatus.CANCELLED
    desk.harness.drain()
    assert desk.harness.app.AsyncResult("next").state == "REVOKED"


def test_a_failure_that_was_not_written_leaves_the_message(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.last()

    def away(*_: Any, **__: Any) -> Job:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(desk.harness.repo, "update_status", away)
        assert desk.handle(job).status is JobStatus.PROCESSING
    assert desk.deleted == []
    assert [each.job_id for each in desk.harness.submitted] == [job.job_id]


# --- a task that another worker may know
def test_a_job_is_sent_again_later_each_time_until_it_has_had_its_messages(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    monkeypatch.setattr(poison, "publish", lambda _app, _job, delay: delays.append(delay))
    job, most = desk.step(), desk.harness.repo.settings.max_dispatches
    for number in range(2, most + 1):
        desk.harness.travel(delays[-1] if delays else 0)
        job = desk.handle(job)
        assert (job.status, job.attempt, job.charged, job.dispatches) == (JobStatus.PENDING, 0, 0, number)
    desk.harness.travel(delays[-1])
    assert delays == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900]
    job = desk.handle(job)
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert job.failure.kind is FailureKind.CONFIGURATION
    assert len(desk.deleted) == most


def test_a_message_that_could_not_be_sent_again_is_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise ConnectionError("SQS is away")

    monkeypatch.setattr(poison, "publish", away)
    assert desk.handle(desk.step()).status is JobStatus.PENDING
    assert desk.deleted == []


def test_a_job_whose_task_is_not_registered_names_that_as_its_hold(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poison, "publish", lambda *_: None)
    held = releases.current(desk.handle(desk.step()))
    assert held is not None
    assert (held.held, held.reason) == ("unknown-task", f"{TASK} is not registered")


def test_a_step_that_is_too_late_is_not_sent_again(desk: Desk) -> None:
    job = desk.step(start_by=desk.harness.clock() + 1_000)
    desk.harness.travel(2)
    assert desk.handle(job).status is JobStatus.CANCELLED


def test_a_stale_message_of_a_task_that_is_not_registered_changes_nothing(desk: Desk) -> None:
    job = desk.step()
    assert desk.harness.repo.claim_job(job.job_id) is not None
    after = desk.handle(job)
    assert (after.status, after.dispatches) == (JobStatus.PROCESSING, 1)
    assert desk.deleted == ["receipt"]


# --- whoever may send a message
def test_copies_of_a_message_do_not_use_up_the_jobs_messages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poison, "publish", lambda *_: None)
    job = desk.handle(desk.step())
    for _ in range(2 * desk.harness.repo.settings.max_dispatches):
        assert desk.handle(job).status is JobStatus.PENDING
    assert desk.harness.job(job).dispatches == 2


def test_a_malformed_message_leaves_a_due_job_of_its_own_task_alone(desk: Desk, kept: list[str]) -> None:
    job = desk.last()
    assert desk.handle(job, unregistered=False) == job
    assert (kept, desk.deleted) == ([f"{TASK} is not registered"], ["receipt"])


def test_a_message_in_another_queue_than_its_jobs_leaves_the_job_alone(desk: Desk, kept: list[str]) -> None:
    job = desk.last()
    assert desk.handle(job, queue="mail") == job
    assert len(kept) == 1
