"""A job in Celery's terms: state, result or exception, and the rest of a result's meta data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from celery import states
from celery.exceptions import TaskRevokedError

from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.encoding.marks import is_mark
from jobclaim.jobs.kept import PROGRESS, SLEEP
from jobclaim.jobs.storage.large import Large
from jobclaim.workers.attempt.exceptions import exception_of
from jobclaim.workers.messages import call
from jobclaim.workers.messages.links import of_job

STATES: Final = {
    JobStatus.PENDING: states.PENDING,
    JobStatus.PROCESSING: states.STARTED,
    JobStatus.COMPLETED: states.SUCCESS,
    JobStatus.FAILED: states.FAILURE,
    JobStatus.CANCELLED: states.REVOKED,
}
WAITING: Final = "WAITING"
"""State of a job that waits without a worker, for a resume or a time; not one of Celery's."""
REPLACED_BY: Final = "jobclaim:replaced_by"
UNKNOWN: Final = {"status": states.PENDING, "result": None, "traceback": None, "children": None, "date_done": None}
"""Celery's state of an unknown id, which looks like a waiting task."""


def replaced_by(job_id: str) -> dict[str, str]:
    """Return the result that marks a job as replaced by another task."""
    return {REPLACED_BY: job_id}


def successor_of(meta: Mapping[str, Any]) -> str | None:
    """Return the id of the job that replaced this one; ``None`` if it was not replaced."""
    return successor_of_result(meta["result"])


def successor_of_result(result: Any) -> str | None:
    """Return the id of a job's replacement, read from the job's own result; ``None`` if it was not replaced."""
    return str(result[REPLACED_BY]) if isinstance(result, dict) and result.keys() == {REPLACED_BY} else None


def state_of(job: Job) -> str:
    """Return Celery's state of a job. A job that waits after a charged attempt is RETRY.

    A job that waits without a worker is WAITING; one that reports progress is PROGRESS, or the state that its task set.
    """
    if job.waiting is not None:
        return WAITING
    if (progress := job.told) is not None:
        return progress.state
    if job.status is JobStatus.PENDING and job.charged > 0:
        return str(states.RETRY)
    return str(STATES[job.status])


def with_result(job: Job, large: Large) -> Job:
    """Return a job with the result that its task returned: a caller that waits for a value must not get its
    placeholder.

    Raises
    ------
    OffloadLost, StoreUnavailable
        The result is in S3 and could not be read.
    """
    return replace(job, result=large.value(job.result)) if is_mark(job.result) else job


def info_of(job: Job) -> Any:
    """Return the ``info`` of a job that has no result yet; ``None`` if there is none."""
    if (wait := job.waiting) is not None:
        sleeps = wait.name.startswith(SLEEP)
        return {"waits_for": None if sleeps else wait.name, "since": wait.since, "until": wait.until}
    if (progress := job.told) is None:
        return None
    if progress.meta is not None or progress.state != PROGRESS:
        return progress.meta
    return {"done": progress.done, "total": progress.total, "message": progress.message}


def meta_of(job: Job) -> dict[str, Any]:
    """Return Celery's meta data of a job. Children are not stored: jobs that a job submitted have it as their
    ``parent_id``.

    For a large payload that was not read, ``args`` and ``kwargs`` are ``None``, as where Celery does not know them.
    """
    state, links = state_of(job), of_job(job)
    args, kwargs = (None, None) if is_mark(job.payload) else call.from_payload(job.payload)
    return {
        "status": state,
        "result": error_of(job) if state in states.EXCEPTION_STATES else _value(job),
        "traceback": job.failure.traceback if job.failure else None,
        "children": [],
        "date_done": datetime.fromtimestamp(job.finished_at / 1000, UTC) if job.finished_at else None,
        "group_id": links.get("group"),
        "parent_id": links.get("parent_id"),
        "name": job.task,
        "args": args,
        "kwargs": kwargs,
        "worker": job.worker_id or None,
        "retries": max(0, job.charged - 1),
        "queue": job.queue,
    }


def _value(job: Job) -> Any:
    return info_of(job) if job.status.is_open else job.result


def error_of(job: Job) -> BaseException | None:
    """Return the exception that ended a job's last attempt, of its own class if this process knows it."""
    failure = job.failure
    if job.status is JobStatus.CANCELLED:
        return TaskRevokedError(failure.message if failure else "cancelled")  # type: ignore[no-any-return]
    return None if failure is None else exception_of(failure)
