"""Threads share one repo: each body speaks for its own claims alone, and past its lease while its worker vouches."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from celery.exceptions import Ignore, SoftTimeLimitExceeded

from jobclaim import JobCancelled, check_cancelled
from jobclaim.jobs import ClaimLost, JobStatus
from jobclaim.jobs.repo import delivery
from jobclaim.testing import Harness
from jobclaim.workers.attempt import fence, running
from jobclaim.workers.attempt.body import BodyDelivery
from jobclaim.workers.messages.message import DELIVERY
from jobclaim.workers.state import worker


class Body:
    """A plain task's body in a thread of its own: what it calls, it calls there."""

    def __init__(self, jobclaim: Harness, key: str) -> None:
        self.task = jobclaim.app.tasks["celery.backend_cleanup"]
        self.task.push_request(called_directly=False, id=f"message-{key}", **{DELIVERY: key.ljust(16, "0")})
        self._context = copy_context()
        self._context.run(running.enter, None)
        self._context.run(delivery.enter, BodyDelivery(self.task, self.task.request, key.ljust(16, "0")))
        self.task.pop_request()

    def __call__(self, act: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return self._context.run(act, *args, **options)


def test_an_attempt_whose_claim_is_over_cannot_end_the_next_one_beside_it(jobclaim: Harness) -> None:
    repo = jobclaim.repo
    job_id = repo.create_job("unit.any").job_id
    first, second = Body(jobclaim, "first"), Body(jobclaim, "second")
    lost = first(repo.claim_job, job_id)
    repo.release(job_id, token=lost.claim_token)  # as a recovery pass does, or a person
    held = second(repo.claim_job, job_id)
    with pytest.raises(ClaimLost):
        first(repo.update_status, job_id, "COMPLETED", result="late")
    assert repo.get_job(job_id).claim_token == held.claim_token
    assert second(repo.update_status, job_id, "COMPLETED", result="mine").result == "mine"


def test_a_body_without_a_claim_does_not_speak_under_its_neighbours(jobclaim: Harness) -> None:
    job_id = jobclaim.repo.create_job("unit.any").job_id
    Body(jobclaim, "first")(jobclaim.repo.claim_job, job_id)
    with pytest.raises(ClaimLost):
        Body(jobclaim, "second")(jobclaim.repo.update_status, job_id, "COMPLETED")
    assert jobclaim.repo.get_job(job_id).status is JobStatus.PROCESSING


def test_an_end_past_the_lease_is_written_while_the_worker_vouches(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, repo = Body(jobclaim, "first"), jobclaim.repo
    claim = body(repo.claim_job, repo.create_job("unit.any").job_id)
    monkeypatch.setattr(repo, "clock", lambda: claim.lease_expires_at + 60_000)
    body(fence.check, repo, claim)
    monkeypatch.setattr(worker.Worker, "may_claim", lambda _: False)  # heartbeats fail: recovery may act now
    with pytest.raises(Ignore):
        body(fence.check, repo, claim)


def test_check_cancelled_tells_each_body_of_its_own_end(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = jobclaim.repo
    wanted, other = Body(jobclaim, "wanted"), Body(jobclaim, "other")
    token = wanted(repo.claim_job, repo.create_job("unit.any").job_id).claim_token
    other(repo.claim_job, repo.create_job("unit.any").job_id)
    monkeypatch.setattr(worker.Worker, "is_cancelled", lambda _, asked: asked == token)
    other(check_cancelled)
    with pytest.raises(JobCancelled):
        wanted(check_cancelled)
    wanted(running.enter, 0)
    monkeypatch.setattr(worker.Worker, "is_cancelled", lambda *_: False)
    with pytest.raises(SoftTimeLimitExceeded):
        wanted(check_cancelled)
    wanted(check_cancelled)  # told once: cleaning up may take its time
    check_cancelled()  # outside of any body


def test_a_block_that_was_told_to_end_ends_its_job_as_cancelled(jobclaim: Harness) -> None:
    job_id = jobclaim.repo.create_job("unit.any").job_id
    with pytest.raises(JobCancelled), jobclaim.repo.claimed(job_id):
        raise JobCancelled("enough")
    assert jobclaim.repo.get_job(job_id).status is JobStatus.CANCELLED
