"""Cancel a job in any state; the answer distinguishes a cancelled job from a requested cancel."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from functools import partial
from typing import Any, Final

from jobclaim.fleet.workers import CANCEL, FleetRecords
from jobclaim.jobs import IllegalTransition, Job, JobRepo, JobStatus
from jobclaim.jobs.failures.description import describe
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import FailureKind
from jobclaim.jobs.repo import rescue
from jobclaim.workers.messages.links import announcement

log = get_logger("jobclaim.cancel")

ROUNDS: Final = 4
"""Limit of reads of a job that keeps changing."""
BY_A_PERSON: Final = "cancelled by a person"


class Answer(StrEnum):
    """The answer to a request to cancel.

    Attributes
    ----------
    CANCELLED
        The job has ended: no body runs, and none will start.
    REQUESTED
        The job is running. Its worker reads the request with its next heartbeat, notifies the task, and stops it after
        the grace period; if the worker is lost first, recovery ends the job as cancelled.
    """

    CANCELLED = "cancelled"
    REQUESTED = "requested"


def cancel(
    repo: JobRepo,
    job_id: str,
    *,
    reason: str = BY_A_PERSON,
    records: FleetRecords | None = None,
    send: Callable[[Job], Any] | None = None,
    read: Job | None = None,
    only: Collection[JobStatus] = (JobStatus.PENDING, JobStatus.PROCESSING, JobStatus.CANCELLED),
) -> Answer:
    """Cancel a job: a waiting one at once, a running one through its worker.

    Parameters
    ----------
    send : callable, optional
        Publishes the message that notifies the job's links; default: through an app with the repo's settings.
    read : Job, optional
        The job as the caller has read it, which saves a read.
    only : collection of JobStatus
        States in which the job is cancelled; in any other state the call is refused.

    Raises
    ------
    IllegalTransition
        The job has ended or is in a state that was not meant, or it was claimed outside a worker, so no worker can
        stop it. The message says which.
    JobNotFound, StoreUnavailable
    """
    records = records or FleetRecords.of(repo)
    for _ in range(ROUNDS):
        job, read = read or repo.get_job(job_id), None
        if job.status not in only:
            raise _not_meant(job)
        if job.status is JobStatus.PROCESSING:
            answer = _ask_worker(repo, records, job, reason)
        else:
            answer = _cancel_waiting(repo, job, reason, send)
        if answer is not None:
            log.info("cancel.requested", answer=str(answer), **job.log_context())
            return answer
    raise IllegalTransition(
        f"job {job_id!r} changed {ROUNDS} times during the cancellation, or its worker {job.worker_id!r} has no "
        "record in the fleet table and cannot be asked; cancel it again, or wait for its lease to end at "
        f"{job.lease_expires_at} (epoch milliseconds)"
    )


def cancelled_by(by: str, reason: str) -> str:
    """Return the reason that is stored with a job that a person has cancelled, with their name."""
    return f"cancelled by {by}{f': {reason}' if reason else ''}"


def _not_meant(job: Job) -> IllegalTransition:
    if job.status.is_open:
        return IllegalTransition(f"job {job.job_id!r} is {job.status} by now and was left alone")
    return IllegalTransition(f"job {job.job_id!r} is {job.status}: it has ended, so there is nothing to cancel")


def _cancel_waiting(repo: JobRepo, job: Job, reason: str, send: Callable[[Job], Any] | None) -> Answer | None:
    try:
        cancelled = repo.cancel_job(job.job_id, reason=reason, read=job)
    except IllegalTransition:
        return None  # claimed just now: read it again
    _notify_links(repo, cancelled, send)
    return Answer.CANCELLED


def _notify_links(repo: JobRepo, job: Job, send: Callable[[Job], Any] | None) -> None:
    """Let a worker notify the job's chord and the rest of its chain; recovery resends a lost message."""
    try:
        if notification := announcement(repo, job):
            from jobclaim.workers import apps

            (send or partial(apps.send, repo.settings))(notification)
    except Exception as error:  # noqa: BLE001 - the job is cancelled, even if its links are notified later
        log.warning("links.delayed", error=type(error).__name__, **job.log_context())


def _ask_worker(repo: JobRepo, records: FleetRecords, job: Job, reason: str) -> Answer | None:
    if not job.worker_id:
        raise IllegalTransition(
            f"job {job.job_id!r} is PROCESSING and was claimed outside a worker's task, or detached, so no worker can "
            f"end it; stop that code, or wait for its lease to end at {job.lease_expires_at} (epoch milliseconds)"
        )
    record = records.ask(job.worker_id, job.job_id, CANCEL)
    if record is None:
        return None  # its worker has released the job and deregistered: read it again
    lost_at = record.seen_at + repo.settings.worker_dead_after_seconds * 1000
    if lost_at <= repo.clock() and job.claimed_at < lost_at:
        failure = describe(f"{reason}; its worker was lost", repo.clock(), FailureKind.CANCELLED)
        return Answer.CANCELLED if rescue.orphan_stop(repo, job, failure) else None
    return Answer.REQUESTED
