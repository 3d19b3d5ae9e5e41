"""Claims of task code: they know their delivery, and a block ends what it claimed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery.exceptions import Retry

from jobclaim.jobs import FailureKind, Job, JobStatus, on_failure
from jobclaim.jobs.failures import hooks
from jobclaim.jobs.repo import delivery
from jobclaim.jobs.repo.delivery import Delivery
from tests.contract.stores import Store


class Noting(Delivery):
    """Notes what it is told."""

    worker_id = "w1"
    celery_task_id = "c1"

    def __init__(self, attempts: dict[str, int] | None = None) -> None:
        self.told: list[str] = []
        self.attempts = attempts or {}
        self.open = True

    def may_claim(self) -> bool:
        return self.open

    def attempt_of(self, job_id: str) -> int | None:
        return self.attempts.get(job_id)

    def asks(self, job_id: str, token: str) -> None:
        self.told.append("asks")

    def refused(self, job_id: str, token: str) -> None:
        self.told.append("refused")

    def claimed(self, repo: Any, claim: Job) -> None:
        self.told.append("claimed")

    def ended(self, repo: Any, claim: Job, after: Job) -> None:
        self.told.append(str(after.status))

    def lost(self, claim: Job, reason: str) -> None:
        self.told.append("lost")


@contextmanager
def working_on(noting: Delivery) -> Iterator[None]:
    delivery.enter(noting)
    try:
        yield
    finally:
        delivery.enter(delivery.NOWHERE)


@pytest.mark.parametrize("by", ["claim_job", "conditional_update_status_to_processing"])
def test_a_claim_is_recorded_with_the_worker_that_makes_it(store: Store, by: str) -> None:
    job, noting, repo = store.pending(), Noting(), store.repo()
    with working_on(noting):
        getattr(repo, by)(job.job_id)
        stored = repo.get_job(job.job_id)
        assert (stored.worker_id, stored.celery_task_id) == ("w1", "c1")
        assert store.repo().claim_job(job.job_id) is None
        repo.update_status(job.job_id, "COMPLETED")
    assert noting.told == ["asks", "claimed", "asks", "refused", "COMPLETED"]


def test_what_the_caller_names_wins(store: Store) -> None:
    job = store.pending()
    with working_on(Noting()):
        claim = store.repo().claim_job(job.job_id, worker_id="mine", celery_task_id="own")
    assert claim is not None
    assert (claim.worker_id, claim.celery_task_id) == ("mine", "own")


def test_a_detached_claim_is_bounded_by_its_lease_alone(store: Store) -> None:
    job, noting = store.pending(), Noting()
    with working_on(noting):
        claim = store.repo().claim_job(job.job_id, detached=True)
    assert claim is not None
    assert (claim.worker_id, claim.celery_task_id, noting.told) == ("", "c1", [])


def test_a_stale_message_claims_nothing_in_task_code_either(store: Store) -> None:
    job = store.pending()
    with working_on(Noting({job.job_id: 3})):
        assert store.repo().claim_job(job.job_id) is None


def test_nothing_is_claimed_while_heartbeats_fail(store: Store) -> None:
    job, noting = store.pending(), Noting()
    noting.open = False
    with working_on(noting):
        assert store.repo().claim_job(job.job_id) is None
        made, now = store.repo().conditional_update_status_to_processing(job_id=job.job_id)
    assert (made, now.status, noting.told) == (False, JobStatus.PENDING, [])


def test_a_zombie_in_task_code_is_told_and_so_is_its_worker(store: Store) -> None:
    repo, job = store.claimed()
    other, noting = store.repo(), Noting()
    other.update_status(job.job_id, "FAILED", error="given up", token=job.claim_token)
    with working_on(noting), pytest.raises(Exception, match="has ended"):
        repo.update_status(job.job_id, "COMPLETED")
    assert noting.told == ["lost"]


# --- outcomes
def test_failed_in_an_except_block_records_the_exception(store: Store) -> None:
    repo, job = store.claimed()
    try:
        raise ConnectionError("the shop is closed")
    except ConnectionError:
        failed = repo.update_status(job.job_id, "FAILED")
    assert failed.failure is not None
    assert (failed.failure.kind, failed.failure.exception) == (FailureKind.TRANSIENT, "ConnectionError")
    assert "the shop is closed" in failed.failure.message
    assert "test_failed_in_an_except_block" in failed.failure.traceback


def test_failed_in_an_except_block_with_an_error_of_its_own_records_that(store: Store) -> None:
    repo, job = store.claimed()
    try:
        raise ConnectionError("the shop is closed")
    except ConnectionError:
        failed = repo.update_status(job.job_id, "FAILED", error="no stock", kind=FailureKind.PERMANENT)
    assert failed.failure is not None
    assert (failed.failure.kind, failed.failure.message, failed.failure.exception) == ("PERMANENT", "no stock", "")


def test_hooks_hear_of_a_failure_that_code_records(store: Store) -> None:
    repo, job = store.claimed()
    heard: list[str] = []

    @on_failure
    def hear(failed: Job) -> None:
        heard.append(failed.job_id)

    try:
        repo.update_status(job.job_id, "FAILED", error="no stock")
    finally:
        hooks.forget(hear)
    assert heard == [job.job_id]


# --- with repo.claimed(...)
def test_a_block_completes_with_the_value_that_it_sets(store: Store) -> None:
    repo = store.repo()
    job = repo.create_job("tasks.work", {"n": 2})
    with repo.claimed(job.job_id) as held:
        assert held is not None
        assert (held.payload, held.attempt) == ({"n": 2}, 1)
        held.set_result(2 * held.payload["n"])
    done = repo.get_job(job.job_id)
    assert (done.status, done.result) == (JobStatus.COMPLETED, 4)


def test_a_block_fails_with_what_it_raises(store: Store) -> None:
    job, repo = store.pending(), store.repo()
    with pytest.raises(ConnectionError), repo.claimed(job.job_id):
        raise ConnectionError("closed")
    failed = repo.get_job(job.job_id)
    assert failed.failure is not None
    assert (failed.status, failed.failure.kind) == (JobStatus.FAILED, FailureKind.TRANSIENT)


def test_a_block_lets_another_attempt_follow_celerys_retry(store: Store) -> None:
    job, repo = store.pending(), store.repo()
    with pytest.raises(Retry), repo.claimed(job.job_id):
        raise Retry(exc=ConnectionError("closed"))
    waiting = repo.get_job(job.job_id)
    assert (waiting.status, waiting.attempt, [past.outcome for past in waiting.history]) == ("PENDING", 1, ["retry"])


def test_a_block_gives_none_where_the_claim_is_refused(store: Store) -> None:
    _, job = store.claimed()
    with store.repo().claimed(job.job_id) as held:
        assert held is None
    assert store.repo().get_job(job.job_id).status is JobStatus.PROCESSING


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELLED"])
def test_an_outcome_that_the_block_records_itself_stands(store: Store, status: str) -> None:
    job, repo = store.pending(), store.repo()
    with repo.claimed(job.job_id):
        repo.update_status(job.job_id, status)
    assert repo.get_job(job.job_id).status == status


def test_a_block_whose_claim_is_over_raises_its_own_error(store: Store) -> None:
    job, repo = store.pending(), store.repo()

    def work() -> None:
        with repo.claimed(job.job_id) as held:
            assert held is not None
            store.repo().update_status(job.job_id, "FAILED", error="given up", token=held.claim_token)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        work()


def test_a_retry_after_the_last_attempt_fails_the_job_with_its_cause(store: Store) -> None:
    repo, job = store.repo(), store.pending(max_attempts=1)

    with pytest.raises(Retry), repo.claimed(job.job_id):
        raise Retry(exc=ConnectionError("closed"))

    ended = repo.get_job(job.job_id)
    assert ended.failure is not None
    assert (ended.status, ended.failure.message) == (JobStatus.FAILED, "closed")
