"""Check whether an attempt still holds its job, before anything follows from its success.

The write of a result is fenced by DynamoDB itself. What Celery sends before that write, callbacks and the next step of
a chain, is not: a zombie would start the next step although another attempt has the job. So a job that has followers
checks first the clock, which costs nothing, then the job, in one consistent read. The moment between this check and the
send remains. If a zombie sends a step in that moment, the step has the id that the job's next attempt would give it, so
it runs once; only its argument may be the zombie's.
"""

from __future__ import annotations

from celery.exceptions import Ignore

from jobclaim.jobs import Job, JobNotFound, JobRepo, JobStatus
from jobclaim.jobs.log import get_logger
from jobclaim.workers.attempt import running

log = get_logger("jobclaim.worker")


def check(repo: JobRepo, claimed: Job) -> None:
    """Check that the claim of the attempt still holds.

    Raises
    ------
    celery.exceptions.Ignore
        The claim has ended: the result is dropped, and nothing follows from it.
    StoreUnavailable
        It is unknown whether the claim holds.
    """
    reason = _over(repo, claimed)
    if reason:
        log.warning("claim.lost", reason=reason)
        raise Ignore(reason)


def _over(repo: JobRepo, claimed: Job) -> str:
    if repo.clock() >= claimed.lease_expires_at and not running.is_vouched_for():
        return "its lease has ended"
    try:
        job = repo.get_job(claimed.job_id)
    except JobNotFound:
        return "its job no longer exists"
    if job.status is not JobStatus.PROCESSING or job.claim_token != claimed.claim_token:
        return f"its job is {job.status} in attempt {job.attempt}"
    return ""
