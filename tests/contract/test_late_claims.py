"""A claim whose answer comes when its lease is over is none: the body of another attempt may be running."""

from __future__ import annotations

from typing import Any

import pytest

from jobclaim.jobs import Failure, FailureKind, Job, JobStatus, StoreUnavailable
from jobclaim.jobs.repo import rescue
from jobclaim.jobs.repo.claiming import NEVER_STARTED
from tests.contract.stores import LossyClient, Store
from tests.support.recovery import before

ORPHANED = Failure(kind=FailureKind.ORPHANED, message="lease over")


def answered_after(store: Store, seconds: float) -> Any:
    """The store's client, whose first write takes so long."""
    waits = iter([seconds])
    return before(store.line, "update_item", lambda: store.clock.advance(next(waits, 0)))


def test_a_claim_that_was_answered_after_its_lease_is_given_back_uncharged(store: Store) -> None:
    job = store.pending(start_by=store.clock() + 86_400_000)
    slow = answered_after(store, job.lease_ms / 1000)

    assert store.repo(slow).claim_job(job.job_id, attempt=0) is None

    after = store.repo().get_job(job.job_id)
    assert (after.status, after.attempt, after.charged) == (JobStatus.PENDING, 1, 0)
    assert (after.start_by, after.releases) == (job.start_by, 0), "no body has begun"
    assert after.released is not None
    assert (after.released.held, after.released.reason) == ("late", "its claim was answered after its lease had ended")
    assert store.repo().claim_job(job.job_id, attempt=1) is not None


def test_a_claim_that_was_answered_after_its_lease_leaves_the_next_attempt_alone(store: Store) -> None:
    job, second = store.pending(on_orphan="retry"), store.repo()

    def meanwhile() -> None:
        store.clock.advance(job.lease_ms / 1000)
        assert rescue.orphan_retry(store.repo(), store.repo().get_job(job.job_id), ORPHANED) is not None
        assert second.claim_job(job.job_id, attempt=1) is not None

    late = store.repo(LossyClient(store.line, meanwhile=meanwhile))
    refused: list[Job] = []
    assert late.claim_job(job.job_id, attempt=0, refused=refused.append) is None
    assert [one.job_id for one in refused] == [job.job_id]
    assert second.update_status(job.job_id, "COMPLETED", result="right").result == "right"


def test_a_claim_that_was_answered_in_time_counts_however_long_it_took(store: Store) -> None:
    job = store.pending()
    slow = answered_after(store, job.lease_ms / 1000 - 0.001)

    assert store.repo(slow).claim_job(job.job_id, attempt=0) is not None


# --- a claim that has no answer at all
def test_a_claim_without_an_answer_is_looked_for_by_a_consistent_read(store: Store) -> None:
    job, other, asked = store.pending(), store.pending(), list[Any]()

    class Noting(LossyClient):
        def batch_get_item(self, **request: Any) -> Any:
            asked.extend(request["RequestItems"].values())
            return self._client.batch_get_item(**request)

    repo = store.repo(Noting(store.line, times=3))
    with pytest.raises(StoreUnavailable):
        repo.claim_job(job.job_id)
    assert repo.claim_job(other.job_id) is not None

    assert [(request["ConsistentRead"], len(request["Keys"])) for request in asked] == [(True, 1)]


def test_a_claim_without_an_answer_is_given_back_when_the_store_answers_again(store: Store) -> None:
    """It is PROCESSING for half an hour otherwise, and then "may have done part of its work"."""
    line = LossyClient(store.line, times=3)
    repo, lost, other = store.repo(line), store.pending(start_by=store.clock() + 86_400_000), store.pending()
    with pytest.raises(StoreUnavailable):
        repo.claim_job(lost.job_id)
    assert store.repo().get_job(lost.job_id).status is JobStatus.PROCESSING

    assert repo.claim_job(other.job_id) is not None

    after = store.repo().get_job(lost.job_id)
    assert (after.status, after.charged, after.attempt) == (JobStatus.PENDING, 0, 1)
    assert (after.start_by, after.releases) == (lost.start_by, 0), "no body has begun"
    (entry,) = after.history
    assert (entry.outcome, entry.held, entry.reason) == ("release", "late", NEVER_STARTED)
    assert store.repo().get_job(other.job_id).status is JobStatus.PROCESSING
    assert repo.claim_job(lost.job_id) is not None


def test_a_claim_that_was_never_made_leaves_its_job_alone(store: Store) -> None:
    line = LossyClient(store.line, times=3, arrives=False)
    repo, lost, other = store.repo(line), store.pending(), store.pending()
    with pytest.raises(StoreUnavailable):
        repo.claim_job(lost.job_id)
    claimed = store.repo().claim_job(lost.job_id, worker_id="somebody else")

    assert repo.claim_job(other.job_id) is not None

    assert store.repo().get_job(lost.job_id) == claimed


def test_a_claim_without_an_answer_whose_job_is_gone_is_forgotten(store: Store) -> None:
    line = LossyClient(store.line, times=3)
    repo, lost = store.repo(line), store.pending()
    with pytest.raises(StoreUnavailable):
        repo.claim_job(lost.job_id)
    store.client.delete_item(TableName=store.settings.job_table, Key={"job_id": {"S": lost.job_id}})

    assert repo.claim_job(store.pending().job_id) is not None
    assert store.item(lost.job_id) is None


def test_whoever_named_the_token_settles_it(store: Store) -> None:
    line = LossyClient(store.line, times=3)
    repo, lost, other = store.repo(line), store.pending(), store.pending()
    with pytest.raises(StoreUnavailable):
        repo.claim_job(lost.job_id, token="mine")

    assert repo.claim_job(other.job_id) is not None

    assert store.repo().get_job(lost.job_id).claim_token == "mine"
    assert repo.release(lost.job_id, started=False, token="mine").status is JobStatus.PENDING


def test_what_cannot_be_given_back_yet_is_not_forgotten(store: Store) -> None:
    line = LossyClient(store.line, times=3)
    repo, lost = store.repo(line), store.pending()
    with pytest.raises(StoreUnavailable):
        repo.claim_job(lost.job_id)
    line.lose_after(1, times=100, arrives=False)
    assert repo.claim_job(store.pending().job_id) is not None
    assert store.repo().get_job(lost.job_id).status is JobStatus.PROCESSING

    line.lose_after(0, times=0)
    assert repo.claim_job(store.pending().job_id) is not None

    assert store.repo().get_job(lost.job_id).status is JobStatus.PENDING
