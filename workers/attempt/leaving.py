"""Decide a job's outcome by how its body ended: one table, for a `JobTask` and for claims in task code.

::

    an exception, also SystemExit and the like   FAILED with it
    Reject(requeue=False)                        FAILED with its reason
    Reject(requeue=True), an open breaker        PENDING, uncharged, its message sent again
    Retry that was raised by hand                PENDING at its `when`, charged, its message sent again;
                                                 FAILED with its error if no attempts are left
    update_state("FAILURE"), then Ignore         FAILED with that state
    update_state("SUCCESS"), then Ignore         COMPLETED with that state
    Ignore                                       CANCELLED
    the process is being ended                   nothing here: its worker's main process decides

An attempt that the body, or Celery's tracer, has ended already is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from billiard import common
from celery import Celery, states
from celery.exceptions import Ignore, MaxRetriesExceededError, Reject, Retry

from jobclaim.jobs import (
    ClaimLost,
    FailureKind,
    InvalidInput,
    InvalidPayload,
    Job,
    JobCancelled,
    JobNotFound,
    JobRepo,
    StoreUnavailable,
)
from jobclaim.jobs.failures.description import words
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Failure
from jobclaim.jobs.protocol.releases import Held
from jobclaim.jobs.transitions import Move
from jobclaim.workers.attempt import outcome
from jobclaim.workers.attempt.original import cause_of
from jobclaim.workers.guarded import BreakerOpen
from jobclaim.workers.submission import timing
from jobclaim.workers.submission.dispatch import publish_if_due
from jobclaim.workers.telemetry import traces

log = get_logger("jobclaim.worker")


@dataclass(frozen=True, slots=True)
class End:
    """The outcome of an attempt.

    Attributes
    ----------
    value
        The result, the error, or the reason.
    at : int, optional
        When the job may start again, epoch milliseconds.
    when : float or datetime, optional
        The same as the body says it: seconds from now, or a time.
    held : Held
        What releases the job, with a release.
    """

    move: Move
    value: Any = None
    at: int | None = None
    held: Held = Held.CALLER
    when: Any = None


def process_is_ending() -> bool:
    """Return whether the process is being ended: then an exception that leaves the body comes from that, not from the
    body.
    """
    return bool(common._should_have_exited[0])


def end_of(left: BaseException, final_state: tuple[str, Any] | None = None) -> End:
    """Decide the outcome of an attempt.

    Parameters
    ----------
    left : BaseException
        What the body raised.
    final_state : tuple, optional
        State and meta of the body's last ``update_state``.
    """
    if isinstance(left, Retry):
        return End(Move.RETRY, cause_of(left), when=left.when)
    if isinstance(left, BreakerOpen):
        return End(Move.RELEASE, str(left), left.until, Held.BREAKER)
    if isinstance(left, Reject):
        return _end_of_reject(left)
    if isinstance(left, JobCancelled):
        return End(Move.STOP, left)
    if not isinstance(left, Ignore):
        return End(Move.FAIL, left)
    state, meta = final_state or ("", None)
    if state == states.FAILURE:
        return End(Move.FAIL, reported_failure(meta, left))
    if state == states.SUCCESS:
        return End(Move.COMPLETE, meta)
    why = words(left)
    return End(Move.STOP, f"its task raised {type(left).__name__}" + (f": {why}" if why else ""))


def _end_of_reject(left: Reject) -> End:
    if left.requeue:
        return End(Move.RELEASE, "its task rejected the message", held=Held.REQUEUE)
    return End(Move.FAIL, _reason(left))


def _reason(left: Reject) -> BaseException:
    """Return the exception that a message was rejected for, with a traceback; the `Reject` itself if its reason is only
    text.
    """
    reason = left.reason
    if not isinstance(reason, BaseException):
        left.args = () if reason is None else (reason,)  # printed as that text alone
        return cast(BaseException, left)
    return _with_traceback(reason, left)


def _with_traceback(error: BaseException, left: BaseException) -> BaseException:
    if error.__traceback__ is None:
        error.__traceback__ = left.__traceback__
    return error


def reported_failure(meta: Any, left: Ignore) -> BaseException | Failure:
    """Make a failure from the body's own report: the error itself, the one being handled, or a text."""
    handled: BaseException | None = left.__cause__ or left.__context__
    if isinstance(meta, BaseException):
        return _with_traceback(meta, left)
    named = meta if isinstance(meta, Mapping) else {}
    name = str(named.get("exc_type") or "")
    if handled is not None and name in ("", type(handled).__name__, type(handled).__qualname__):
        return handled
    message = named.get("exc_message", meta)
    if isinstance(message, (list, tuple)):
        message = "\n".join(map(words, message))
    module = str(named.get("exc_module") or "")
    exception = f"{module}.{name}" if module and name and module != "builtins" else name
    return Failure(kind=FailureKind.PERMANENT, exception=exception, message=words(message))


def record(app: Celery, repo: JobRepo, claim: Job, end: End) -> Job | None:
    """Record the outcome of an attempt; ``None`` if the claim has ended or nothing could be written, which is
    logged.
    """
    job_id, token = claim.job_id, claim.claim_token
    match end.move:
        case Move.COMPLETE:
            try:
                return outcome.record_success(repo, job_id, token, end.value)
            except InvalidPayload as error:
                return outcome.record_failure(repo, job_id, token, error)
        case Move.FAIL:
            return outcome.record_failure(repo, job_id, token, end.value)
        case Move.STOP:
            return outcome.record_cancelled(repo, job_id, token, end.value)
        case Move.RELEASE:
            release = partial(repo.release, reason=end.value, available_at=end.at, held=end.held)
            return _send_back(app, repo, claim, release, Move.RELEASE)
        case _:  # Move.RETRY
            return _try_again(app, repo, claim, end)


def _try_again(app: Celery, repo: JobRepo, claim: Job, end: End) -> Job | None:
    """Schedule another attempt at the time that the body asked for, now if it named none; after its last attempt, fail
    the job.
    """
    if not claim.attempts_left:
        error = end.value or MaxRetriesExceededError(f"its task raised Retry in attempt {claim.attempt}, its last")
        return outcome.record_failure(repo, claim.job_id, claim.claim_token, error)
    is_delay = isinstance(end.when, (int, float))
    try:
        due = timing.due_at(end.when if is_delay else None, end.when, repo.clock(), app.timezone)
    except InvalidInput as refused:
        return outcome.record_failure(repo, claim.job_id, claim.claim_token, refused)
    write = partial(repo.reschedule, available_at=due, error=end.value, kind=outcome.kind_of(end.value))
    return _send_back(app, repo, claim, write, Move.RETRY)


def _send_back(app: Celery, repo: JobRepo, claim: Job, write: Any, move: Move) -> Job | None:
    try:
        after: Job = write(claim.job_id, token=claim.claim_token)
    except (ClaimLost, JobNotFound, StoreUnavailable) as error:
        log.warning("job.release_refused", reason=str(error), **claim.log_context())
        return None
    traces.ended(repo.settings, claim, str(move), at=repo.clock())
    publish_if_due(app, after)
    return after
