"""What the main process makes of attempts whose child cannot tell, and what a cancel makes of a job in each state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from moto import mock_aws

from infra.tables import ensure_table, table_specs
from jobs import ClaimLost, FailureKind, IllegalTransition, Job, JobNotFound, JobRepo, JobStatus, StoreUnavailable
from jobs.claims import new_token
from settings import Settings
from tests.support.clock import ManualClock
from workers import create_app
from workers.cancel import Answer, cancel
from workers.fleet import CANCEL, FleetRecords, WorkerRecord
from workers.process import settle
from workers.process.settle import Attempt
from workers.task import JobTask

WORKER = "vm:1:ab"
LOST = WorkerLostError("signal 9")


def work() -> None:
    """Stand for a task's body."""


@dataclass
class World:
    """An app on an in-process DynamoDB; messages are listed instead of sent."""

    app: Any
    repo: JobRepo
    clock: ManualClock
    fleet: FleetRecords
    sent: list[tuple[str, int]] = field(default_factory=list)

    def claimed(self, **options: Any) -> tuple[Job, Attempt]:
        """Write and claim a job as a child would, and give what its main process knows of it."""
        job = self.repo.create_job("t.work", **options)
        token = new_token()
        claimed = self.repo.claim_job(job.job_id, attempt=0, worker_id=WORKER, token=token)
        assert claimed is not None
        return claimed, Attempt(job.job_id, 0, token, self.app.tasks["t.work"])

    def job(self, job_id: str) -> Job:
        return self.repo.get_job(job_id)


@pytest.fixture
def world(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with mock_aws():
        settings, client = Settings(worker_dead_after_seconds=60), boto3.client("dynamodb", region_name="us-east-1")
        for spec in table_specs(settings):
            list(ensure_table(client, spec, 10))
        repo = JobRepo.from_settings(settings, client=client, clock=clock)
        app = create_app(settings)
        app.repo = repo
        app.task(base=JobTask, name="t.work")(work)
        app.finalize()
        made = World(app, repo, clock, FleetRecords.of(repo))
        monkeypatch.setattr(settle, "publish_if_due", lambda _, job: made.sent.append((job.job_id, job.attempt)))
        yield made


# --- lost children
def test_a_lost_job_fails_as_an_orphan_by_default(world: World) -> None:
    job, attempt = world.claimed()
    settle.lost(world.app, attempt, LOST)
    after = world.job(job.job_id)
    assert after.status is JobStatus.FAILED
    assert after.failure is not None
    assert after.failure.kind is FailureKind.ORPHANED
    assert world.sent == []


@pytest.mark.parametrize(("error", "pause"), [(LOST, 0), (TimeLimitExceeded(5), 1_000)])
def test_one_that_may_run_again_does_but_not_before_its_old_body_is_dead(
    world: World, error: BaseException, pause: int
) -> None:
    job, attempt = world.claimed(on_orphan="retry", max_attempts=2)
    settle.lost(world.app, attempt, error)
    after = world.job(job.job_id)
    assert (after.status, after.charged, after.available_at - world.clock()) == (JobStatus.PENDING, 1, pause)
    assert world.sent == [(job.job_id, 1)]


def test_the_last_attempt_is_not_tried_again(world: World) -> None:
    job, attempt = world.claimed(on_orphan="retry", max_attempts=1)
    settle.lost(world.app, attempt, TimeLimitExceeded(5))
    after = world.job(job.job_id)
    assert after.status is JobStatus.FAILED
    assert after.failure is not None
    assert after.failure.kind is FailureKind.TIMEOUT


def test_a_child_lost_before_its_claim_leaves_no_failure_and_the_message_is_sent_again(world: World) -> None:
    job = world.repo.create_job("t.work")
    settle.lost(world.app, Attempt(job.job_id, 0, new_token()), LOST)
    after = world.job(job.job_id)
    assert (after.status, after.attempt, after.failure, after.dispatches) == (JobStatus.PENDING, 0, None, 2)
    assert world.sent == [(job.job_id, 0)]


def test_a_message_that_keeps_killing_children_is_left_to_recovery_in_the_end(world: World) -> None:
    job = world.repo.create_job("t.work")
    for _ in range(20):
        settle.lost(world.app, Attempt(job.job_id, 0, new_token()), LOST)
    assert world.job(job.job_id).dispatches == world.app.settings.max_dispatches
    assert len(world.sent) == world.app.settings.max_dispatches - 1


def test_a_child_that_had_written_its_end_is_believed(world: World) -> None:
    job, attempt = world.claimed()
    world.repo.update_status(job.job_id, "COMPLETED", result=1)
    settle.lost(world.app, attempt, LOST)
    assert settle.unfinished(world.app, attempt) is False
    assert settle.cancelled(world.app, attempt, "no") is False
    assert world.job(job.job_id).status is JobStatus.COMPLETED


def test_the_next_attempt_is_not_touched(world: World) -> None:
    job, attempt = world.claimed()
    world.repo.reschedule(job.job_id)
    again = world.repo.claim_job(job.job_id, attempt=1)
    for end in (lambda: settle.lost(world.app, attempt, LOST), lambda: settle.unfinished(world.app, attempt)):
        end()
    assert world.job(job.job_id) == again
    assert world.sent == []


# --- stops
def test_a_stop_releases_without_charging(world: World) -> None:
    job, attempt = world.claimed(on_orphan="retry", max_attempts=1)
    assert settle.unfinished(world.app, attempt)
    after = world.job(job.job_id)
    assert (after.status, after.attempt, after.charged) == (JobStatus.PENDING, 1, 0)
    assert world.sent == [(job.job_id, 1)]


def test_a_stop_fails_what_must_not_be_cut_and_started_again(world: World) -> None:
    job, attempt = world.claimed()
    assert settle.unfinished(world.app, attempt)
    after = world.job(job.job_id)
    assert (after.status, world.sent) == (JobStatus.FAILED, [])
    assert after.failure is not None
    assert after.failure.kind is FailureKind.ORPHANED


# --- outages
def test_settling_goes_on_through_an_outage_and_gives_up_in_time() -> None:
    tries = iter([StoreUnavailable("away"), StoreUnavailable("away"), None])

    def settle_it() -> str:
        if error := next(tries):
            raise error
        return "settled"

    assert settle.insist(settle_it, until=time.monotonic() + 10) == "settled"

    def never() -> None:
        raise StoreUnavailable("away")

    assert settle.insist(never, until=time.monotonic()) is None


@pytest.mark.parametrize("error", [ClaimLost("over"), JobNotFound("j")])
def test_a_claim_that_is_over_is_no_failure(error: Exception) -> None:
    def settle_it() -> None:
        raise error

    assert settle.insist(settle_it, until=time.monotonic() + 10) is False


# --- cancel
def test_a_waiting_job_is_cancelled_and_stays_so(world: World) -> None:
    job = world.repo.create_job("t.work")
    assert [cancel(world.repo, job.job_id) for _ in range(2)] == [Answer.CANCELLED] * 2
    assert world.repo.claim_job(job.job_id) is None


def test_a_running_job_is_requested_from_its_worker(world: World) -> None:
    job, attempt = world.claimed()
    world.fleet.beat(WorkerRecord(worker_id=WORKER, seen_at=world.clock()))
    assert cancel(world.repo, job.job_id) is Answer.REQUESTED
    [record] = world.fleet.all()
    assert record.commands == {job.job_id: CANCEL}
    assert world.job(job.job_id).status is JobStatus.PROCESSING
    assert settle.cancelled(world.app, attempt, "asked to")
    after = world.job(job.job_id)
    assert after.status is JobStatus.CANCELLED
    assert after.failure is not None
    assert (after.failure.kind, after.failure.message) == (FailureKind.CANCELLED, "asked to")


def test_a_dead_workers_job_is_cancelled_at_once(world: World) -> None:
    job, _ = world.claimed()
    world.fleet.beat(WorkerRecord(worker_id=WORKER, seen_at=world.clock()))
    world.clock.advance(60)
    assert cancel(world.repo, job.job_id) is Answer.CANCELLED
    with pytest.raises(ClaimLost):
        world.repo.update_status(job.job_id, "COMPLETED")


def test_what_is_over_cannot_be_cancelled(world: World) -> None:
    job, _ = world.claimed()
    world.repo.update_status(job.job_id, "COMPLETED")
    with pytest.raises(IllegalTransition, match="COMPLETED: it is over"):
        cancel(world.repo, job.job_id)


def test_a_job_that_nobody_can_be_told_about_says_so(world: World) -> None:
    outside = world.repo.create_job("t.work")
    world.repo.claim_job(outside.job_id)
    with pytest.raises(IllegalTransition, match="outside a worker"):
        cancel(world.repo, outside.job_id)
    recordless, _ = world.claimed()
    with pytest.raises(IllegalTransition, match="no record in the fleet table"):
        cancel(world.repo, recordless.job_id)


def test_revoking_through_celery_answers_for_each_job(world: World) -> None:
    waiting = world.repo.create_job("t.work")
    running, _ = world.claimed()
    world.fleet.beat(WorkerRecord(worker_id=WORKER, seen_at=world.clock()))
    answers = world.app.control.revoke([waiting.job_id, running.job_id])
    assert answers == {waiting.job_id: "cancelled", running.job_id: "requested"}
    with pytest.raises(JobNotFound):
        world.app.AsyncResult("nobody").revoke()
