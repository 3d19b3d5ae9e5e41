"""The effect of each move on a job: pure functions from the job as read to the job as wanted.

`jobclaim.jobs.encoding.changes` then computes the difference for DynamoDB. Times are epoch milliseconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from jobclaim.jobs.encoding import codec
from jobclaim.jobs.failures import dead
from jobclaim.jobs.kept import Release, Wait
from jobclaim.jobs.model import HISTORY_LIMIT, Attempt, DeadState, Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.protocol.changed import changed
from jobclaim.jobs.transitions import Move

SHORT_MESSAGE: Final = 200
"""Maximum bytes of a failure's message in the history."""
SUBMIT_ROUNDS: Final = 5
"""Attempts to submit a job whose id is taken by a job that is being changed or deleted."""
UNSURE_AFTER_MS: Final = 5_000
"""A send that takes longer than this may not have happened."""
UNSURE_DISPATCHES: Final = 3
"""Number of messages after which equal submissions leave sending more to recovery."""
SQS_LOOKAHEAD_MS: Final = 900_000
"""A job due later than SQS's longest delay gets no message yet; recovery sends it when the time is near."""
RELEASE_PACES: Final = ((10_000, 60_000), (1_000, 10_000), (10, 1_000))
"""Minimum wait in milliseconds by the number of releases by the run's bodies: a body may check every second whether
something is ready, and one that does not wait at all is slowed down."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long ended jobs are kept, in milliseconds, and when a failed one is started again.

    Attributes
    ----------
    retry_after : callable
        Returns the seconds from a job's failure, by its kind, to its automatic retry; ``None`` for none.
    """

    completed: int
    dead: int
    retry_after: Callable[[Job, str], float | None] = lambda _job, _kind: None


def first_dispatches(available_at: int, now: int) -> int:
    """Return how many messages to send at once for a job due at ``available_at``: 1, or 0 if that is too far ahead for
    SQS.
    """
    return 1 if available_at - now <= SQS_LOOKAHEAD_MS else 0


def completed(job: Job, result: Any, now: int, retention: Retention, *, window: float | None = None) -> Job:
    """Complete the job. An idempotent one is kept at least as long as it answers equal submissions.

    That is ``window`` seconds; default: as it was submitted.
    """
    window = job.idempotency_ttl if window is None else window
    kept = max(retention.completed, int(window * 1000))
    return changed(
        job,
        idempotency_ttl=window,
        status=JobStatus.COMPLETED,
        result=result,
        failure=None,
        waits_for="",
        released=None,
        finished_at=now,
        expires_at=_expiry(now, kept),
        dead_state=DeadState.RESOLVED if job.dead_state else "",
        unsent=0,
    )


def ended_badly(
    job: Job, move: Move, status: JobStatus, failure: Failure | None, now: int, retention: Retention
) -> Job:
    """End the attempt, or a job that was not claimed, as FAILED or CANCELLED; payload and evidence stay.

    A job that was not claimed may still have messages for its next attempt in flight. That attempt number is skipped,
    so that they cannot start a later run of the job early.
    """
    claimed = job.status is JobStatus.PROCESSING
    ended = replace(
        job,
        status=status,
        attempt=job.attempt if claimed else job.attempt + 1,
        failure=failure,
        waits_for="",
        released=None,
        history=_with_attempt(job, move, failure, now) if claimed else job.history,
        finished_at=now,
        expires_at=_expiry(now, retention.dead),
    )
    if status is not JobStatus.FAILED:
        return replace(ended, dead_state=DeadState.ABANDONED if job.dead_state else "")
    kind = failure.kind if failure else FailureKind.PERMANENT
    ended = dead.as_dead_letter(ended, now, retention.retry_after(job, kind))
    return replace(ended, expires_at=_expiry(max(now, ended.retry_at), retention.dead))


def pending_again(
    job: Job,
    move: Move,
    failure: Failure | None,
    now: int,
    available_at: int,
    *,
    charge: bool,
    started: bool = True,
    slot: int = 0,
    released: Release | None = None,
) -> Job:
    """End the attempt and allow another one; an uncharged attempt does not count against ``max_attempts``.

    A job whose body was not ``started`` may still expire before its start, and keeps its turn. One that was
    ``released`` has not failed, and keeps the failure of an attempt before.
    """
    return replace(
        job,
        status=JobStatus.PENDING,
        charged=job.charged if charge else max(0, job.charged - 1),
        failure=job.failure if released else failure,
        waits_for="",
        released=released,
        history=_with_attempt(job, move, failure, now, released),
        start_by=0 if started else job.start_by,
        slot=slot if started else slot or job.slot,
        releases=job.releases + (move is Move.RELEASE and started),
        unsent=0,
        available_at=available_at,
        dispatches=first_dispatches(available_at, now),
        dispatched_at=now,
    )


def least_wait_ms(job: Job) -> int:
    """Return the minimum wait of a job that its body releases uncharged, by the number of earlier releases."""
    return next((pace for often, pace in RELEASE_PACES if job.releases >= often), 0)


def revived(job: Job, now: int, available_at: int, *, by: str = "a person", why: str = "") -> Job:
    """Start a failed job again on a person's request, with all its attempts; ``attempt`` keeps growing."""
    return replace(_open_again(dead.decided(job, "retry", by, why, now), now, available_at), charged=0, dead_retries=0)


def revived_by_rule(job: Job, now: int) -> Job:
    """Start a failed job again by its dead-letter rule, for one attempt."""
    done = job.dead_retries + 1
    why = f"automatic retry {done}" + (f" after {job.failure.kind}" if job.failure else "")
    again = _open_again(dead.decided(job, "retry", dead.RECOVERY, why, now), now, now)
    return replace(again, charged=max(0, job.max_attempts - 1), dead_retries=done)


def concluded(job: Job, move: Move, now: int, retention: Retention, *, by: str, why: str) -> Job:
    """Record a person's decision that a failed job's work is done (``RESOLVE``) or no longer wanted (``ABANDON``)."""
    done = move is Move.RESOLVE
    return replace(
        dead.decided(job, str(move), by, why, now),
        dead_state=DeadState.RESOLVED if done else DeadState.ABANDONED,
        retry_at=0,
        expires_at=_expiry(now, retention.completed if done else retention.dead),
    )


def _open_again(job: Job, now: int, available_at: int) -> Job:
    return replace(
        job,
        status=JobStatus.PENDING,
        retry_at=0,
        dead_state=DeadState.RETRYING,
        finished_at=0,
        expires_at=0,
        available_at=available_at,
        dispatches=first_dispatches(available_at, now),
        dispatched_at=now,
        submission=secrets.token_hex(6),
        start_by=0,
        slot=0,
        releases=0,
        released=None,
        unsent=0,
        waits=_waits_of_next_run(job),
        wait_changes=job.wait_changes + bool(job.waits),
    )


def _waits_of_next_run(job: Job) -> tuple[Wait, ...]:
    """Keep resumes and issued tokens for the next run; deadlines start anew."""
    return tuple(
        wait if wait.resumed_at else Wait(name=wait.name, announced=True)
        for wait in job.waits
        if wait.resumed_at or wait.announced
    )


def late(job: Job, now: int, retention: Retention) -> Job:
    """Cancel a job that was not started before its ``start_by``: its body must not run anymore."""
    limit = datetime.fromtimestamp(job.start_by / 1000, UTC).isoformat(timespec="milliseconds")
    message = f"it had not started by {limit}, its `expires`; submit it again if it is still wanted"
    failure = Failure(kind=FailureKind.CANCELLED, message=message, at=now)
    return ended_badly(job, Move.CANCEL, JobStatus.CANCELLED, failure, now, retention)


def is_late(job: Job, now: int) -> bool:
    """Check whether a job is still waiting after the time by which it had to start."""
    return job.status is JobStatus.PENDING and 0 < job.start_by < now


def resubmitted(old: Job, new: Job) -> Job:
    """Create a new run under the id of an ended one: all new except ``attempt``, which fences the old run's messages.

    Each run gets a new submission id: a caller that submits again, not knowing that an earlier try of the same call
    succeeded and has ended since, creates another run.
    """
    return replace(new, attempt=old.attempt, history=old.history, submission=secrets.token_hex(6))


def may_be_unsent(job: Job, now: int, most: int) -> bool:
    """Check whether an equal submission should send a waiting job's message, because the first may not have been sent.

    A submitter may fail, lose its answer or die between the write and the send, without a trace. A job that expires
    cannot wait for recovery; any other is left alone for a moment, in which its submitter is probably still sending.
    Copies start nothing twice, because they are fenced by the attempt. A job that waits behind a backlog gets two at
    most.

    Parameters
    ----------
    most : int
        Messages after which recovery gives up on a job.
    """
    if job.status is not JobStatus.PENDING or job.claimed_at or not 1 <= job.dispatches < min(UNSURE_DISPATCHES, most):
        return False
    at_once = bool(job.start_by) and job.dispatches == 1
    return at_once or now - job.dispatched_at >= UNSURE_AFTER_MS


def dispatched(job: Job, now: int, held: Release | None = None) -> Job:
    """Count one more message, which is about to be sent, and note what kept the last one from being claimed."""
    return replace(job, dispatches=job.dispatches + 1, dispatched_at=now, unsent=0, released=held or job.released)


def as_duplicate(existing: Job) -> Job:
    """Return the answer to a submission that found an equal job."""
    return replace(existing, created=False)


def is_gone(job: Job, now: int) -> bool:
    """Check whether the job is past its retention; DynamoDB deletes it some time after that."""
    return 0 < job.expires_at * 1000 <= now


def forgotten(job: Job) -> Job:
    """Stop a completed job from answering equal submissions; its result can still be read."""
    return replace(job, idempotency_ttl=0)


def dropped(job: Job, now: int) -> Job:
    """Expire a completed job whose result is not needed anymore, as if it were past its retention."""
    return replace(forgotten(job), result=None, expires_at=now // 1000)


def answers_duplicate(existing: Job, now: int) -> bool:
    """Check whether an equal submission gets the existing job: it is open, or completed within its window."""
    if existing.status.is_open:
        return True
    return existing.status is JobStatus.COMPLETED and now < existing.finished_at + existing.idempotency_ttl * 1000


def _with_attempt(
    job: Job, move: Move, failure: Failure | None, now: int, released: Release | None = None
) -> tuple[Attempt, ...]:
    before = job.history
    if move in (Move.RELEASE, Move.WAIT) and before and before[-1].outcome == move:
        before = before[:-1]  # a job that often waits must not push its real attempts out of its history
    entry = Attempt(
        attempt=job.attempt,
        outcome=str(move),
        worker_id=job.worker_id,
        claim_token=job.claim_token,
        claimed_at=job.claimed_at,
        lease_expires_at=job.lease_expires_at,
        ended_at=now,
        failure=_in_short(failure),
        held=released.held if released else "",
        reason=codec.cut(released.reason, SHORT_MESSAGE) if released else "",
    )
    return _last((*before, entry))


def _in_short(failure: Failure | None) -> Failure | None:
    """Drop the traceback, which stays with the job's own failure; ten of them would fill the item."""
    if failure is None:
        return None
    return replace(failure, traceback="", where="", message=codec.cut(failure.message, SHORT_MESSAGE))


def _last(history: Iterable[Attempt]) -> tuple[Attempt, ...]:
    return tuple(history)[-HISTORY_LIMIT:]


def _expiry(now: int, kept: int) -> int:
    return -(-(now + kept) // 1000)  # rounded up, so that it is kept for the whole time
