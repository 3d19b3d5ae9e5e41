"""A zombie wakes up after recovery gave its job away: whatever it says changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobclaim.jobs import ClaimLost, Failure, FailureKind, Job, JobRepo
from jobclaim.jobs.repo import rescue
from tests.contract.stores import Store

ORPHANED = Failure(kind=FailureKind.ORPHANED, message="lease over")
LAST_WORDS: dict[str, Callable[[JobRepo, str], object]] = {
    "COMPLETED": lambda repo, job_id: repo.update_status(job_id, "COMPLETED", result="too late"),
    "FAILED": lambda repo, job_id: repo.update_status(job_id, "FAILED", error="too late"),
    "FAILED as recovery did": lambda repo, job_id: repo.update_status(job_id, "FAILED", error=ORPHANED),
    "CANCELLED": lambda repo, job_id: repo.update_status(job_id, "CANCELLED"),
    "reschedule": lambda repo, job_id: repo.reschedule(job_id, error="too late"),
    "reschedule as recovery did": lambda repo, job_id: repo.reschedule(job_id, error=ORPHANED),
    "release": lambda repo, job_id: repo.release(job_id),
}


def orphan_fail(store: Store, job: Job) -> None:
    assert rescue.orphan_fail(store.repo(), store.repo().get_job(job.job_id), ORPHANED) is not None


def orphan_retry(store: Store, job: Job) -> None:
    assert rescue.orphan_retry(store.repo(), store.repo().get_job(job.job_id), ORPHANED) is not None


def orphan_retry_and_claim(store: Store, job: Job) -> None:
    orphan_retry(store, job)
    assert store.repo().claim_job(job.job_id, attempt=1, celery_task_id="c1", worker_id="w1") is not None


def orphan_retry_and_complete(store: Store, job: Job) -> None:
    orphan_retry(store, job)
    second = store.repo()
    second.claim_job(job.job_id, attempt=1)
    second.update_status(job.job_id, "COMPLETED", result="right")


def orphan_fail_and_retry_by_a_person(store: Store, job: Job) -> None:
    orphan_fail(store, job)
    store.repo().retry_job(job.job_id)


def orphan_fail_and_run_anew(store: Store, job: Job) -> None:
    orphan_fail(store, job)
    assert store.pending(idempotency_key="k").created
    assert store.repo().claim_job(job.job_id) is not None


MEANWHILE = [
    orphan_fail,
    orphan_retry,
    orphan_retry_and_claim,
    orphan_retry_and_complete,
    orphan_fail_and_retry_by_a_person,
    orphan_fail_and_run_anew,
]


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("words", LAST_WORDS)
def test_a_zombie_is_told_that_its_claim_is_over_and_changes_nothing(
    store: Store, meanwhile: Callable[[Store, Job], None], words: str
) -> None:
    zombie, job = store.claimed(idempotency_key="k", max_attempts=3)
    store.clock.advance(1860)
    meanwhile(store, job)
    before = store.items()

    with pytest.raises(ClaimLost, match="nothing was changed, so drop the outcome of this attempt"):
        LAST_WORDS[words](zombie, job.job_id)

    assert store.items() == before


@pytest.mark.parametrize("words", LAST_WORDS)
def test_a_zombie_that_was_told_so_holds_no_claim_any_more(store: Store, words: str) -> None:
    zombie, job = store.claimed()
    orphan_retry_and_claim(store, job)
    before = store.items()

    for _ in range(2):
        with pytest.raises(ClaimLost):
            LAST_WORDS[words](zombie, job.job_id)
    assert store.items() == before


def test_a_zombie_with_its_token_cannot_end_the_attempt_of_the_same_process(store: Store) -> None:
    """A process may claim a job again while its older attempt runs in another thread: the token tells them apart."""
    worker, first = store.claimed()
    orphan_retry(store, first)
    second = worker.claim_job(first.job_id)
    assert second is not None

    with pytest.raises(ClaimLost):
        worker.update_status(first.job_id, "COMPLETED", result="zombie", token=first.claim_token)
    assert worker.update_status(first.job_id, "COMPLETED", result="right").result == "right"


@pytest.mark.parametrize("act", [rescue.orphan_fail, rescue.orphan_retry])
def test_recovery_that_read_an_older_attempt_changes_nothing(
    store: Store, act: Callable[[JobRepo, Job, Failure], Job | None]
) -> None:
    owner, read = store.claimed()
    owner.reschedule(read.job_id)
    assert owner.claim_job(read.job_id) is not None
    before = store.items()

    assert act(store.repo(), read, ORPHANED) is None
    assert store.items() == before


@pytest.mark.parametrize("act", [rescue.orphan_fail, rescue.orphan_retry])
def test_recovery_that_comes_after_the_owner_changes_nothing(
    store: Store, act: Callable[[JobRepo, Job, Failure], Job | None]
) -> None:
    owner, read = store.claimed()
    owner.update_status(read.job_id, "COMPLETED", result="in time")
    before = store.items()

    assert act(store.repo(), read, ORPHANED) is None
    assert store.items() == before


@pytest.mark.parametrize("act", [rescue.give_up, rescue.dispatch])
def test_recovery_that_read_a_waiting_job_cannot_touch_one_that_runs(store: Store, act: Callable[..., object]) -> None:
    read = store.pending()
    assert store.repo().claim_job(read.job_id) is not None
    before = store.items()

    arguments = (ORPHANED,) if act is rescue.give_up else ()
    assert act(store.repo(), read, *arguments) is None
    assert store.items() == before
