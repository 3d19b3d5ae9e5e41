"""A cancel that a worker is told of is forgotten only when it has ended: its job may run here unseen, or come again."""

from __future__ import annotations

from typing import Any

import pytest

from jobclaim.fleet.workers import CANCEL, FleetRecords, WorkerRecord
from jobclaim.jobs import Job, JobStatus, StoreUnavailable
from jobclaim.settings import Settings
from jobclaim.workers import create_app
from jobclaim.workers.cancel import Answer, cancel
from jobclaim.workers.messages.message import TOKEN
from jobclaim.workers.process import active, cancels
from jobclaim.workers.process.parent import Parent
from jobclaim.workers.state import worker
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock


class World:
    """A worker's main process with its record in the fleet table; the test is its heartbeat."""

    def __init__(self, clock: ManualClock) -> None:
        settings = Settings()
        self.app = create_app(settings)
        self.repo = model_repo(settings, clock)
        self.app.jobclaim.use(settings, self.repo)
        self.fleet = FleetRecords.of(self.repo)
        self.about = WorkerRecord(worker_id=worker.current().worker_id, seen_at=clock(), started_at=clock())
        self.done: tuple[str, ...] = ()
        self.parent = Parent(self.app, object(), None, self.about)
        self.beat()

    def beat(self) -> WorkerRecord:
        """Write a heartbeat and have what comes back obeyed, to its end."""
        record = self.fleet.beat(self.about, self.done)
        self.done = tuple(self.parent._carry_out(record))
        assert self.parent._recorder.flush(10)
        return record

    def asked(self) -> dict[str, str]:
        """Give the commands of the record."""
        record = self.fleet.beat(self.about)
        return dict(record.commands)

    def claimed(self) -> Job:
        """Give a job that runs on this worker, unseen by its main process."""
        job = self.repo.create_job("t.work")
        claimed = self.repo.claim_job(job.job_id, attempt=0, worker_id=worker.current().worker_id)
        assert claimed is not None
        assert cancel(self.repo, job.job_id, records=self.fleet) is Answer.REQUESTED
        return claimed


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(clock)


def test_a_cancel_for_a_job_not_seen_yet_is_told_again_until_it_is_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.claimed()
    for _ in range(4):
        world.beat()
    assert world.asked() == {job.job_id: CANCEL}
    cancelled: list[Any] = []

    class Seen:
        key = TOKEN

        def job_ids(self) -> set[str]:
            return {job.job_id}

    monkeypatch.setattr(active, "requests", lambda: [Seen()])
    monkeypatch.setattr(world.parent._cancels, "begin", lambda _, job_id: cancelled.append(job_id))
    world.beat()
    assert cancelled == [job.job_id]


def test_a_cancel_follows_a_job_that_is_tried_again_and_ends_with_it(world: World) -> None:
    job = world.claimed()
    world.beat()
    world.repo.reschedule(job.job_id, available_at=world.repo.clock() + 60_000, token=job.claim_token)
    world.beat()
    assert world.repo.get_job(job.job_id).status is JobStatus.CANCELLED
    world.beat()
    world.beat()
    assert world.asked() == {}


def test_a_cancel_of_a_job_that_has_ended_is_forgotten(world: World) -> None:
    job = world.claimed()
    world.repo.update_status(job.job_id, "COMPLETED", token=job.claim_token)
    for _ in range(3):
        world.beat()
    assert world.asked() == {}


def test_a_cancel_that_the_recorder_has_no_room_for_comes_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = world.claimed()
    with monkeypatch.context() as full:
        full.setattr(world.parent._recorder, "submit", lambda record: False)
        for _ in range(3):
            world.beat()
    assert world.asked() == {job.job_id: CANCEL}
    world.repo.update_status(job.job_id, "COMPLETED", token=job.claim_token)
    for _ in range(3):
        world.beat()
    assert world.asked() == {}


@pytest.mark.parametrize("error", [StoreUnavailable("no answer"), RuntimeError("a bug")])
def test_a_cancel_that_fails_comes_again(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    job = world.claimed()

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as away:
        away.setattr(cancels, "cancel", fail)
        for _ in range(3):
            world.beat()
    assert world.asked() == {job.job_id: CANCEL}
    world.repo.update_status(job.job_id, "COMPLETED", token=job.claim_token)
    for _ in range(3):
        world.beat()
    assert world.asked() == {}
