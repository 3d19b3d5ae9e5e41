"""End what a body left open: a claim without an outcome, or a job that the body did not claim."""

from __future__ import annotations

from typing import Any, Final

from celery.exceptions import Retry

from jobclaim.jobs import Job, JobNotFound, JobRepo, StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.repo import delivery
from jobclaim.workers.attempt import leaving, outcome
from jobclaim.workers.messages.message import Address
from jobclaim.workers.state import worker
from jobclaim.workers.submission.claiming import claims

log = get_logger("jobclaim.worker")

BY_ITSELF: Final = "it was cancelled, and its body ended by itself"
NOT_CLAIMED: Final = (
    "task {task!r} is not a JobTask and did not claim the job whose id it got as its argument; give it base=JobTask, "
    "call claim_job(job_id) in its body, or declare @shared_task(claims=True) if it claims in a way that was not seen"
)
NOT_RECORDED: Final = (
    "task {task!r} claimed the job and returned without recording an outcome; call update_status(job_id, ...) before "
    "it returns, use `with repo.claimed(job_id) as job:`, or claim with detached=True where the work ends elsewhere"
)


def end_claim(task: Any, repo: JobRepo, claim: Job, error: BaseException | None, final_state: Any) -> None:
    """Record the outcome of an open claim: cancelled, by the exception that left the body, or as a fault of the task.

    Parameters
    ----------
    final_state : optional
        The state that the body reported last, with its meta data.
    """
    if worker.current().is_cancelled(claim.claim_token) and not isinstance(error, Retry):
        outcome.record_cancelled(repo, claim.job_id, claim.claim_token, error or BY_ITSELF)
    elif error is not None:
        leaving.record(task.app, repo, claim, leaving.end_of(error, final_state))
    else:
        outcome.record_fault(repo, claim.job_id, claim.claim_token, NOT_RECORDED.format(task=task.name))


def end_unclaimed(task: Any, named: Address | None) -> None:
    """Fail a job whose task does not claim it: recovery would run its body again and again."""
    if named is None or claims(task):
        return
    repo = task.app.jobclaim.repo
    try:
        with delivery.outside():
            job = repo.claim_job(
                named.job_id,
                attempt=named.attempt,
                worker_id=worker.current().worker_id,
                celery_task_id=task.request.id,
                task=task.name,  # a forged message may name the job of another task: its claim is refused
                when_due=True,
            )
    except JobNotFound:
        log.warning("claim.no_such_job", job_id=named.job_id, task=task.name)
        return
    except StoreUnavailable as error:
        log.error("claim.unavailable", job_id=named.job_id, task=task.name, reason=str(error))
        return
    if job is not None:
        outcome.record_fault(repo, job.job_id, job.claim_token, NOT_CLAIMED.format(task=task.name))
