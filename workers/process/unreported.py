"""Record outcomes that the child cannot: decided from the job as it is now, written under the claim's own token.

::

    job as it is now        lost, or over its limit        out of time at a stop          cancelled
    PENDING, unclaimed      message sent again             message sent again             nothing: users cancel those
    PROCESSING, mine        retry or FAILED, by policy     released or FAILED, by policy  CANCELLED
    CANCELLED, mine         nothing: it has ended          nothing: it has ended          its links are notified, once
    anything else           nothing: the child had ended it, or another attempt has it

All of it runs in the recorder's threads, so it may wait for DynamoDB. The policy is the task's `on_orphan`: only with
"retry" may a body that was cut off anywhere be started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from celery import Celery, signals
from celery.app.task import Context
from celery.exceptions import TimeLimitExceeded, WorkerLostError

from jobclaim.jobs import ClaimLost, Job, JobNotFound, JobStatus, StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.protocol.releases import Held
from jobclaim.jobs.repo import rescue
from jobclaim.jobs.repo.claiming import NEVER_STARTED
from jobclaim.workers.attempt.answer import einfo_of
from jobclaim.workers.attempt.outcome import kind_of, record_cancelled, record_failure
from jobclaim.workers.messages import call, links
from jobclaim.workers.messages.message import HEADER, TOKEN
from jobclaim.workers.results import notifying
from jobclaim.workers.state import worker
from jobclaim.workers.submission.dispatch import publish_if_due
from jobclaim.workers.telemetry import traces

log = get_logger("jobclaim.worker")

LONGEST_PAUSE: Final = 5.0
AFTER_KILL_MS: Final = 1_000
"""The event loop kills a child that is over its limit during this write: the next attempt starts after the kill."""


@dataclass(frozen=True, slots=True)
class HeldAttempt:
    """One delivery of a job's message, as the main process knows it.

    Attributes
    ----------
    number : int
        Claims before this one, as the message names them.
    token : str
        Token of the claim that the child makes.
    task : optional
        The `JobTask`; ``None`` for a claim that a body made, whose hooks and links Celery itself calls.
    context : optional
        Celery's context of the request: its chord, chain and error callbacks.
    """

    job_id: str
    number: int
    token: str
    task: Any = None
    context: Any = None


def lost(app: Celery, attempt: HeldAttempt, error: BaseException) -> None:
    """Handle a child that is lost (`WorkerLostError`), or over its hard limit and about to be killed
    (`TimeLimitExceeded`).
    """
    job = _read_or_resend(app, attempt)
    if job is None or not _is_mine(job, attempt):
        return
    if job.on_orphan == "retry" and job.attempts_left > 0:
        at = app.jobclaim.repo.clock() + (AFTER_KILL_MS if isinstance(error, TimeLimitExceeded) else 0)
        after = app.jobclaim.repo.reschedule(
            job.job_id, available_at=at, error=error, kind=kind_of(error), token=attempt.token
        )
        traces.crashed(
            app.jobclaim.repo.settings, job, "retry", at=app.jobclaim.repo.clock(), exception=type(error).__name__
        )
        log.warning("job.interrupted", exception=type(error).__name__, **job.log_context())
        publish_if_due(app, after)
    else:
        _fail(app, attempt, job, error)


def unanswered(app: Celery, attempt: HeldAttempt) -> None:
    """Release, uncharged, a job whose claim had no answer, and send its message: its body has not begun."""
    job = _read_or_resend(app, attempt)
    if job is not None and _is_mine(job, attempt):
        after = app.jobclaim.repo.release(
            job.job_id, reason=NEVER_STARTED, held=Held.LATE, started=False, token=attempt.token
        )
        log.info("job.released", **job.log_context())
        publish_if_due(app, after)


def unfinished(app: Celery, attempt: HeldAttempt, *, available_at: int | None = None) -> bool:
    """Release or fail the job of an attempt that has not ended when the worker stops; ``False`` if it had ended.

    Parameters
    ----------
    available_at : int, optional
        When its body has certainly ended, epoch milliseconds: the next attempt does not start before.
    """
    if worker.current().is_handed_over(attempt.token):
        return False
    job = _read_or_resend(app, attempt)
    if job is None:
        return True
    if not _is_mine(job, attempt):
        return False
    if job.on_orphan == "retry":
        after = app.jobclaim.repo.release(
            job.job_id,
            reason="its worker was stopped",
            held=Held.WORKER_STOP,
            token=attempt.token,
            available_at=available_at,
        )
        traces.ended(app.jobclaim.repo.settings, job, "release", at=app.jobclaim.repo.clock())
        log.info("job.released", **job.log_context())
        publish_if_due(app, after)
    else:
        _fail(
            app,
            attempt,
            job,
            WorkerLostError("its worker was stopped, and the job did not end in the time that was left"),
        )
    return True


def cancelled(app: Celery, attempt: HeldAttempt, reason: str) -> bool:
    """End the attempt as CANCELLED; ``False`` if it had ended otherwise."""
    if worker.current().is_handed_over(attempt.token):
        return False
    job = _read(app, attempt)
    if _is_mine(job, attempt, JobStatus.CANCELLED):
        after: Job | None = job  # an earlier try wrote it, but did not do what follows
    elif _is_mine(job, attempt):
        after = record_cancelled(app.jobclaim.repo, job.job_id, attempt.token, reason, retry=True)
    else:
        return False
    if after is None:
        return False
    if attempt.task is not None:
        notifying.notify(app, after)
        signals.task_revoked.send(
            sender=attempt.task, request=_context(attempt, job), terminated=True, signum=None, expired=False
        )
    return True


def persist(record: Callable[[], Any], *, until: float) -> Any:
    """Record the outcome in spite of an outage: retry with growing pauses until a time of ``time.monotonic``.

    Return the result of ``record``; ``False`` if the claim is lost, so the job has another outcome; ``None`` where
    time ran out.
    """
    pause = 0.1
    while True:
        try:
            return record()
        except (ClaimLost, JobNotFound) as error:
            log.info("job.outcome_already_recorded", reason=str(error))
            return False
        except StoreUnavailable as error:
            if time.monotonic() + pause > until:
                log.error("job.outcome_not_recorded", reason=str(error))
                return None
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _read(app: Celery, attempt: HeldAttempt) -> Job:
    return app.jobclaim.repo.get_job(attempt.job_id)  # type: ignore[no-any-return]


def _is_mine(job: Job, attempt: HeldAttempt, status: JobStatus = JobStatus.PROCESSING) -> bool:
    return job.status is status and job.claim_token == attempt.token


def _is_unclaimed(job: Job, attempt: HeldAttempt) -> bool:
    return job.status is JobStatus.PENDING and job.attempt == attempt.number


def _read_or_resend(app: Celery, attempt: HeldAttempt) -> Job | None:
    """Return the job as it is now; ``None`` if it was not claimed: then its message, which was deleted, is sent again.

    Not beyond recovery's limit: after so many messages, a missing one is not the cause. The claim of a child that was
    killed may arrive between the two requests.
    """
    job = _read(app, attempt)
    if not _is_unclaimed(job, attempt):
        return job
    if job.dispatches < app.jobclaim.settings.max_dispatches:
        after = rescue.dispatch(app.jobclaim.repo, job)
        if after is None:
            return _read(app, attempt)
        log.warning("job.resent", dispatches=after.dispatches, **job.log_context())
        publish_if_due(app, after)
    return None


def _context(attempt: HeldAttempt, job: Job) -> Context:
    """Return Celery's context; it names the job and its claim even where the message of plain Celery does not.

    The links are read from the job, never from the message.
    """
    context = Context() if attempt.context is None else attempt.context
    context.update(links.of_claim(job))
    context.update({HEADER: {"job_id": attempt.job_id, "attempt": attempt.number}, TOKEN: attempt.token})
    return context


def _fail(app: Celery, attempt: HeldAttempt, job: Job, error: BaseException) -> None:
    """Write FAILED and do what Celery does on a failure: the chord, the error callbacks, the task's hook, the signal.

    The hook and the signal are the only user code that runs in a main process. Their exceptions are logged and change
    nothing.
    """
    task = attempt.task
    if task is None:
        record_failure(app.jobclaim.repo, job.job_id, attempt.token, error, retry=True)
        return
    task.backend.mark_as_failure(attempt.job_id, error, request=_context(attempt, job))
    (args, kwargs), einfo = call.from_payload(job.payload), einfo_of(error)
    try:
        task.on_failure(error, attempt.job_id, args, kwargs, einfo)
    except Exception as raised:  # noqa: BLE001 - the job has failed, and its child must still be ended
        log.warning("hook.failed", error=type(raised).__name__, **job.log_context())
    signals.task_failure.send(
        sender=task, task_id=attempt.job_id, exception=error, args=args, kwargs=kwargs, traceback=None, einfo=einfo
    )
