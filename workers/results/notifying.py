"""Notify the chord, the chain and the error callbacks of a job that ended without its worker."""

from __future__ import annotations

from typing import Any

from celery import Celery

from jobclaim.jobs import Job, JobError, JobNotFound, JobStatus
from jobclaim.jobs.log import get_logger
from jobclaim.workers.messages import links
from jobclaim.workers.results import followups
from jobclaim.workers.results.meta import error_of, state_of, with_result
from jobclaim.workers.submission.dispatch import publish_if_due

log = get_logger("jobclaim.chords")


def notify(app: Celery, job: Job) -> None:
    """Let a worker notify the links of a job that was ended in its worker's place; once per outcome of the job."""
    try:
        if notification := links.announcement(app.jobclaim.repo, job):
            publish_if_due(app, notification)
    except JobError as error:
        log.error("links.not_sent", reason=str(error), **job.log_context())


def notify_expired(app: Celery, refused: Job) -> None:
    """Announce a job whose claim was refused because its `expires` is past: that claim ended it silently."""
    if refused.status is JobStatus.CANCELLED and refused.start_by:
        notify(app, refused)


def notify_links(self: Any, job_id: str) -> str:
    """Notify a job's chord, chain and error callbacks that it failed or was cancelled.

    For a job that completed with effects, send its callbacks and the rest of its chain.
    """
    try:
        job = self.app.jobclaim.repo.get_job(job_id)
    except JobNotFound:
        return "gone"
    if job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
        traceback = job.failure.traceback if job.failure else None
        self.app.backend.notify_links(
            job,
            error_of(job),
            traceback,
            call_errbacks=job.status is JobStatus.FAILED,
            state=state_of(job),
        )
    elif job.status is JobStatus.COMPLETED:
        large = self.app.jobclaim.repo.large
        followups.send(self.app, links.context(job, large), with_result(job, large).result)
    return str(job.status)
