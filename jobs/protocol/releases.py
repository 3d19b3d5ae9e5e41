"""Why a job waits again although no attempt failed: values and pure functions.

An older version stored the reason as a failure, in the job and in its history; what is read here covers both forms.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from jobclaim.jobs.encoding import codec
from jobclaim.jobs.errors import InvalidInput
from jobclaim.jobs.kept import Release
from jobclaim.jobs.model import Attempt, Failure, Job, JobStatus
from jobclaim.jobs.transitions import Move

MAX_REASON: Final = 500
"""Stored bytes of a reason."""


class Held(StrEnum):
    """What releases a job uncharged."""

    RATE_LIMIT = "rate-limit"
    CONCURRENCY_LIMIT = "concurrency-limit"
    BREAKER = "breaker"
    WORKER_STOP = "worker-stop"
    UNKNOWN_TASK = "unknown-task"
    """Not a release: workers without the task pass its message on, and no attempt begins."""
    SNOOZE = "snooze"
    REQUEUE = "requeue"
    """Its body raised Celery's ``Reject(requeue=True)``."""
    STORE = "store"
    """What it needs could not be read."""
    LATE = "late"
    """The claim or the permission to start came too late, so the body did not run."""
    CALLER = "caller"
    """A program called `JobRepo.release`."""


def release_of(job: Job, held: Any, reason: Any, now: int) -> Release:
    """Build the record of a release of a claimed job, or of a hold of a waiting one.

    Raises
    ------
    InvalidInput
    """
    if held not in frozenset(Held):
        raise InvalidInput(f"held={held!r} is not known; use one of {[str(known) for known in Held]}")
    if not isinstance(reason, str):
        raise InvalidInput(f"reason must be text, not {type(reason).__name__} ({reason!r})")
    return Release(held=str(held), reason=codec.cut(reason, MAX_REASON), at=now, attempt=job.attempt)


def of_attempt(entry: Attempt) -> Release | None:
    """Return what released an ended attempt; ``None`` if it ended otherwise."""
    if entry.outcome != Move.RELEASE:
        return None
    reason = entry.reason or (entry.failure.message if entry.failure else "")
    return Release(held=entry.held, reason=reason, at=entry.ended_at, attempt=entry.attempt)


def current(job: Job) -> Release | None:
    """Return what a waiting job is or was held by since its last attempt; ``None`` if nothing held it."""
    if job.status is not JobStatus.PENDING:
        return None
    if job.released is not None and job.released.attempt == job.attempt:
        return job.released
    last = job.history[-1] if job.history else None
    return of_attempt(last) if last is not None and last.attempt == job.attempt else None


def last_failure(job: Job) -> Failure | None:
    """Return a job's last failure, without what an older version stored as one: the reason of a release."""
    failure = job.failure
    is_reason = failure is not None and any(
        entry.outcome == Move.RELEASE and entry.failure is not None and entry.failure.at == failure.at
        for entry in job.history
    )
    return None if is_reason else failure
