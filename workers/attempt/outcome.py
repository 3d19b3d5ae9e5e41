"""Record the outcome of an attempt, fenced by its claim, and finish its spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

from jobclaim.jobs import ClaimLost, Effects, FailureKind, Job, JobNotFound, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Failure
from jobclaim.jobs.repo.handing import PlannedCompletion
from jobclaim.jobs.repo.store import Store
from jobclaim.workers.attempt import soft_limit
from jobclaim.workers.submission.typed import CallDoesNotFit
from jobclaim.workers.telemetry import traces

log = get_logger("jobclaim.worker")


def record_success(
    repo: JobRepo,
    job_id: str,
    token: str,
    result: Any,
    ttl: float | None = None,
    *,
    effects: Effects | tuple[()] = (),
    beside: Sequence[Job] = (),
) -> Job | None:
    """Write COMPLETED with the result; ``None`` if the claim has ended and the result is dropped.

    Parameters
    ----------
    ttl : float, optional
        Seconds for which the result answers equal submissions; default: the submission's own window.
    effects, beside : optional
        As in `jobclaim.jobs.JobRepo.update_status`.

    Raises
    ------
    InvalidPayload, PayloadTooLarge
        The result cannot be stored; nothing was written.
    EffectRefused, InvalidEffect
    """
    together: dict[str, Any] = {"effects": effects, "beside": beside} if effects else {}
    return _write(repo, job_id, token, JobStatus.COMPLETED, result=result, ttl=ttl, **together)


def record_planned(repo: JobRepo, planned: PlannedCompletion) -> None:
    """Write a planned completion; a claim that has ended drops it, as `record_success` does."""
    try:
        with soft_limit.passes_by():
            repo.write_planned(planned)
    except ClaimLost as error:
        drop(JobStatus.COMPLETED, error, **planned.context)
    except StoreUnavailable as error:
        log.error("job.outcome_not_recorded", outcome=str(JobStatus.COMPLETED), reason=str(error), **planned.context)


def record_failure(
    repo: JobRepo, job_id: str, token: str, error: BaseException | Failure, *, retry: bool = False
) -> Job | None:
    """Write FAILED with the error; ``None`` if the claim has ended.

    Parameters
    ----------
    retry : bool
        Whether the caller tries again when nothing could be written: raise `StoreUnavailable` then, instead of leaving
        the job to recovery.
    """
    return _write(repo, job_id, token, JobStatus.FAILED, retry=retry, error=error, kind=kind_of(error))


def record_cancelled(
    repo: JobRepo, job_id: str, token: str, reason: BaseException | str, *, retry: bool = False
) -> Job | None:
    """Write CANCELLED; ``None`` if the claim has ended. ``retry`` as with `record_failure`."""
    return _write(repo, job_id, token, JobStatus.CANCELLED, retry=retry, error=reason, kind=FailureKind.CANCELLED)


def record_fault(repo: JobRepo, job_id: str, token: str, reason: str) -> Job | None:
    """Write FAILED for a fault of the program or its configuration; ``None`` if the claim has ended."""
    return _write(repo, job_id, token, JobStatus.FAILED, error=reason, kind=FailureKind.CONFIGURATION)


def kind_of(error: BaseException | Failure | None) -> FailureKind | None:
    """Return the failure kind of errors that only a worker knows; ``None`` leaves it to the job's own rules."""
    if isinstance(error, (SoftTimeLimitExceeded, TimeLimitExceeded)):
        return FailureKind.TIMEOUT
    if isinstance(error, CallDoesNotFit):
        return FailureKind.CONFIGURATION
    return FailureKind.ORPHANED if isinstance(error, WorkerLostError) else None


def refuse_retry(error: Any) -> NoReturn:
    """Raise for a retry that was not written: the claim has ended, or the request was invalid."""
    if isinstance(error, (ClaimLost, JobNotFound, StoreUnavailable)):
        log.warning("job.retry_dropped", reason=str(error))
        raise Ignore(str(error)) from error
    if isinstance(error, BaseException):
        raise error
    raise Reject(error, requeue=False)


def _write(
    repo: JobRepo, job_id: str, token: str, status: JobStatus, *, retry: bool = False, **outcome: Any
) -> Job | None:
    try:
        with soft_limit.passes_by():
            job = repo.update_status(job_id, status, token=token, **outcome)
    except (ClaimLost, JobNotFound) as error:
        drop(status, error)
        return None
    except StoreUnavailable as error:
        if retry:
            raise
        log.error("job.outcome_not_recorded", outcome=str(status), reason=str(error))
        return None
    end_spans(repo, job)
    return job


def drop(status: JobStatus, error: Exception, **fields: Any) -> None:
    """Log that an outcome is dropped, because its claim has ended."""
    log.warning("claim.lost", outcome=str(status), reason=str(error), **fields)


def end_spans(repo: Store, job: Job) -> None:
    """Finish the spans of an attempt that has ended."""
    failure = job.failure if job.status is not JobStatus.COMPLETED else None
    traces.ended(
        repo.settings,
        job,
        str(job.status).lower(),
        at=job.finished_at,
        kind=str(failure.kind) if failure else "",
        exception=failure.exception if failure else "",
    )
