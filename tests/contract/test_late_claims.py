"""A claim whose answer comes when its lease is over is none: the body of another attempt may be running."""

from __future__ import annotations

from jobclaim.jobs import Failure, FailureKind, JobStatus
from jobclaim.jobs.protocol import rescue
from tests.contract.stores import LossyClient, Store

ORPHANED = Failure(kind=FailureKind.ORPHANED, message="lease over")


def test_a_claim_that_was_answered_after_its_lease_is_given_back_uncharged(store: Store) -> None:
    job = store.pending()
    slow = LossyClient(store.line, meanwhile=lambda: store.clock.advance(job.lease_ms / 1000))

    assert store.repo(slow).claim_job(job.job_id, attempt=0) is None

    after = store.repo().get_job(job.job_id)
    assert (after.status, after.attempt, after.charged) == (JobStatus.PENDING, 1, 0)
    assert store.repo().claim_job(job.job_id, attempt=1) is not None


def test_a_claim_that_was_answered_after_its_lease_leaves_the_next_attempt_alone(store: Store) -> None:
    job, second = store.pending(on_orphan="retry"), store.repo()

    def meanwhile() -> None:
        store.clock.advance(job.lease_ms / 1000)
        assert rescue.orphan_retry(store.repo(), store.repo().get_job(job.job_id), ORPHANED) is not None
        assert second.claim_job(job.job_id, attempt=1) is not None

    assert store.repo(LossyClient(store.line, meanwhile=meanwhile)).claim_job(job.job_id, attempt=0) is None
    assert second.update_status(job.job_id, "COMPLETED", result="right").result == "right"


def test_a_claim_that_was_answered_in_time_counts_however_long_it_took(store: Store) -> None:
    job = store.pending()
    slow = LossyClient(store.line, meanwhile=lambda: store.clock.advance(job.lease_ms / 1000 - 1))

    assert store.repo(slow).claim_job(job.job_id, attempt=0) is not None
