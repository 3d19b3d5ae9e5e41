"""What is recorded of a claim, what holds it back, and what its delivery is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobclaim.fleet.pauses import Subject, pause
from jobclaim.jobs import ClaimLost, Failure, FailureKind, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.protocol.releases import Held
from jobclaim.jobs.repo import delivery, rescue
from jobclaim.jobs.storage.pauses import Pause, PauseKind, Pauses
from jobclaim.jobs.storage.written import Written
from tests.contract.stores import LossyClient
from tests.support.clock import ManualClock
from tests.support.one_job import LARGE, SETTINGS, claimed, lost, one_job
from tests.support.recovery import before, failing
from tests.support.watched import Watched, watching

ORPHANED = Failure(kind=FailureKind.ORPHANED, message="lease over")


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return one_job(clock)


@pytest.fixture
def watched(repo: JobRepo) -> Iterator[Watched]:
    with watching() as where:
        yield where


# --- what a delivery is told
def test_a_delivery_is_told_of_a_claim_and_of_its_end(repo: JobRepo, watched: Watched) -> None:
    assert claimed(repo).worker_id == "w"
    assert repo.claim_job("j") is None
    repo.update_status("j", "COMPLETED")

    assert watched.told == ["asks", "claimed", "asks", "refused", "ended COMPLETED"]


def test_a_delivery_is_told_of_a_claim_that_was_lost(repo: JobRepo, clock: ManualClock, watched: Watched) -> None:
    lost(repo, clock)
    del watched.told[:]

    with pytest.raises(ClaimLost):
        repo.update_status("j", "COMPLETED")

    assert watched.told == ["lost"]


def test_a_detached_claim_is_nothing_to_the_delivery_in_which_it_is_made(repo: JobRepo, watched: Watched) -> None:
    claim = claimed(repo, detached=True)
    assert repo.claim_job("j", detached=True) is None

    assert (claim.worker_id, watched.told) == ("", [])


def test_a_detached_claim_that_is_answered_too_late_is_given_back_although_its_delivery_does_not_know_it(
    repo: JobRepo, clock: ManualClock, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "claim_of", lambda *_: None)
    waits = iter([repo.get_job("j").lease_ms / 1000])
    slow = before(repo.table.client(), "update_item", lambda: clock.advance(next(waits, 0)))

    assert JobRepo(slow, settings=SETTINGS, clock=clock).claim_job("j", detached=True) is None
    assert repo.get_job("j").status is JobStatus.PENDING


def test_a_claim_that_raises_is_not_held_and_one_that_is_not_answered_may_be(
    repo: JobRepo, clock: ManualClock, watched: Watched
) -> None:
    with pytest.raises(KeyError):
        broken(repo, clock, KeyError("a fault of the program")).claim_job("j")
    assert watched.told == ["asks", "refused"]
    del watched.told[:]

    with pytest.raises(StoreUnavailable):
        broken(repo, clock, ConnectionError()).claim_job("j")
    assert watched.told == ["asks"]


def test_a_worker_that_knows_what_is_paused_does_not_read_it_at_each_claim(
    repo: JobRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repo.table.client(), "get_item", None)
    delivery.enter(Watched(Pauses()))
    try:
        assert claimed(repo).worker_id == "w"
    finally:
        delivery.enter(delivery.NOWHERE)


def broken(repo: JobRepo, clock: ManualClock, error: Exception) -> JobRepo:
    """A repo whose writes fail."""
    line = LossyClient(repo.table.client(), arrives=False, times=99, error=lambda: error)
    return JobRepo(line, settings=SETTINGS, clock=clock, sleep=clock.advance)


def test_who_claimed_too_late_is_told_where_the_job_stood_although_it_is_anothers_by_now(
    repo: JobRepo, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = JobRepo(repo.table.client(), settings=SETTINGS, clock=clock, sleep=clock.advance)
    move = late.table.move

    def answered_late(*what: Any, **how: Any) -> Written:
        written = move(*what, **how)
        monkeypatch.undo()
        lease = repo.get_job("j").lease_ms / 1000
        clock.advance(lease)
        assert rescue.orphan_fail(repo, repo.get_job("j"), ORPHANED) is not None
        return written

    monkeypatch.setattr(late.table, "move", answered_late)

    made, job = late.conditional_update_status_to_processing("j")
    assert (made, job.job_id, repo.get_job("j").status) == (False, "j", JobStatus.FAILED)


# --- who claims, and what holds a claim
def test_a_claim_is_recorded_with_its_delivery_unless_the_caller_names_others(repo: JobRepo, watched: Watched) -> None:
    watched.celery_task_id = "c"
    found = [claimed(repo)]
    repo.release("j")
    found.append(claimed(repo, worker_id="other", celery_task_id="another"))

    assert [(one.worker_id, one.celery_task_id) for one in found] == [("w", "c"), ("other", "another")]


def test_a_claim_outside_of_a_worker_stores_neither_worker_nor_message(repo: JobRepo) -> None:
    claimed(repo)

    item = repo.table.client().get_item(TableName=SETTINGS.job_table, Key={"job_id": {"S": "j"}})["Item"]
    assert not {"worker_id", "celery_task_id"} & item.keys()


@pytest.mark.parametrize(
    ("kind", "attempt", "made"),
    [
        (PauseKind.TASK, 0, False),
        (PauseKind.TASK, None, False),
        (PauseKind.QUEUE, None, False),
        (PauseKind.QUEUE, 0, True),
    ],
)
def test_a_worker_starts_what_it_has_received_from_a_queue_paused_since_and_nothing_of_a_paused_task(
    repo: JobRepo, kind: PauseKind, attempt: int | None, made: bool
) -> None:
    name = "t" if kind is PauseKind.TASK else "default"
    delivery.enter(Watched(Pauses((Pause(kind=kind, name=name, by="me", reason="", since=1),))))
    try:
        assert (repo.claim_job("j", attempt=attempt) is not None) is made
    finally:
        delivery.enter(delivery.NOWHERE)


def test_a_program_does_not_start_what_it_has_received_from_a_paused_queue(repo: JobRepo) -> None:
    pause(repo, Subject(PauseKind.QUEUE, "default"), by="me", reason="a fault")

    assert repo.claim_job("j", attempt=0) is None


def test_a_worker_that_may_not_claim_is_refused_without_a_read_of_the_payload(
    repo: JobRepo, clock: ManualClock, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.create_job("t", LARGE, job_id="large")
    monkeypatch.setattr(watched, "may_claim", lambda: False)
    monkeypatch.setattr(repo.large, "restored", None)

    assert repo.claim_job("large") is None
    assert watched.told == []


def test_a_job_whose_payload_cannot_be_read_is_given_back_by_who_claimed_it(
    repo: JobRepo, clock: ManualClock, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "claim_of", lambda *_: None)
    repo.create_job("t", LARGE, job_id="large")
    blind = failing(repo.table.client(), "get_item", lambda _: True)

    with pytest.raises(StoreUnavailable):
        JobRepo(blind, settings=SETTINGS, clock=clock, sleep=clock.advance).claim_job("large", detached=True)

    after = repo.get_job("large", large=False)
    assert (after.status, after.charged, after.releases) == (JobStatus.PENDING, 0, 0)
    assert after.released is not None
    assert (after.released.held, after.released.reason) == (Held.STORE, "its payload could not be read")
