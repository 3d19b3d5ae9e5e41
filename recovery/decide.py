"""Decide what recovery does about one job: a pure function of the job as it was read, the time and the settings.

::

    PROCESSING   lease over, or its worker lost ─▶ Orphan     FAILED, or PENDING by `on_orphan` while attempts are left
                 its live worker vouches for it ─▶ nothing    a thread runs on past its lease
    PENDING      its task or queue is paused ────▶ nothing    it waits; a first message is sent, and `start_by` holds
                 its task's pause has ended ─────▶ Dispatch   its message was refused meanwhile
                 no message yet, due soon ───────▶ Dispatch   the first message; SQS keeps it back until the job is due
                 due, message unclaimed too long ▶ Dispatch   again, each time after a longer wait
                 written in a transaction ───────▶ Dispatch   again, after seconds: its submitter may have died
                 half of its time to start used ─▶ Dispatch   again, twice at most: `start_by` is nearer than the wait
                 sent by a clock an hour ahead ──▶ Dispatch   again: that time does not show how long it waits
                 `max_dispatches` already sent ──▶ GiveUp     FAILED: a missing message is not the cause
                 too late to start (`start_by`) ─▶ Expire     CANCELLED: it has expired
    FAILED       `retry_at` is past ─────────────▶ Revive     PENDING: its dead-letter rule has a retry left
    otherwise ───────────────────────────────────▶ nothing
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeAlias

from jobclaim.jobs.clock import BELIEVED_AHEAD_MS
from jobclaim.jobs.failures.dead import is_due
from jobclaim.jobs.model import Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.protocol.lifecycle import UNSURE_AFTER_MS, is_late
from jobclaim.jobs.storage.pauses import PauseKind, Pauses
from jobclaim.settings import SQS_MAX_DELAY, Settings
from jobclaim.specs.quotas import SQS_RETENTION

LOOK_AHEAD_MS: Final = 600_000
"""How long before it is due a job that waits in DynamoDB gets its message.

Five minutes less than SQS's longest delay: a job that its submitter leaves to recovery is in the index long before a
pass reads it there, even with eventual consistency and clocks that differ.
"""

MESSAGES_KEPT_MS: Final = SQS_RETENTION * 1000
"""A queue that was paused for less still has its messages; those of a longer pause are sent again at once."""
LEARNT_AFTER: Final = 1.5
"""Heartbeats after which all workers know that a pause has ended; until then they refuse the messages of its task."""
EARLY_DISPATCHES: Final = 3
"""Up to this many messages of a job that expires, recovery waits less than for other jobs."""
LEAST_LEFT_MS: Final = 2_000
"""A job that expires sooner gets no further message: none would reach a worker in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostWorker:
    """A lost worker: its heartbeat stopped without deregistering.

    Attributes
    ----------
    seen_at : int
        Its last heartbeat, epoch milliseconds.
    dead_at : int
        When it began to count as lost, epoch milliseconds. A claim made then or later shows that it is alive.
    queues : tuple of str
        Logical queues that it consumed; empty if the record does not say, which means all of them.
    job_ids : tuple of str
        Jobs that it ran at its last heartbeat.
    cancelled : frozenset of str
        Jobs that it was asked to cancel, but did not get to.
    """

    worker_id: str
    seen_at: int
    lost_at: int
    queues: tuple[str, ...] = ()
    job_ids: tuple[str, ...] = ()
    cancelled: frozenset[str] = frozenset()

    def listened_on(self, queue: str) -> bool:
        """Return whether it may have claimed jobs of that queue."""
        return not self.queues or queue in self.queues


@dataclass(frozen=True, slots=True)
class Orphan:
    """End the attempt; ``retry`` allows another one, ``cancelled`` means that its job was to be cancelled."""

    retry: bool
    failure: Failure
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Send the job's message; ``again`` if an earlier one seems to be lost."""

    again: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Fail a job none of whose messages led to a claim."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Expire:
    """Cancel a job that has expired."""


@dataclass(frozen=True, slots=True)
class Revive:
    """Retry a failed job by its dead-letter rule."""


Action: TypeAlias = Orphan | Dispatch | GiveUp | Expire | Revive | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The input of decisions besides the job.

    Attributes
    ----------
    settings : Settings
    dead : mapping of str to LostWorker
        The lost workers, by id.
    vouched : frozenset of str
        Tokens of the claims that live workers vouch for.
    pauses : Pauses
        What people have paused, and what was paused until recently.
    known : bool
        ``False`` if the fleet table could not be read: no job is given up, because it may be paused.
    """

    settings: Settings
    dead: Mapping[str, LostWorker] = field(default_factory=dict)
    vouched: frozenset[str] = frozenset()
    pauses: Pauses = field(default_factory=Pauses)
    known: bool = True


def decide(job: Job, now: int, figures: Figures) -> Action:
    """Return the action for a job at ``now``, epoch milliseconds; ``None`` for none."""
    if job.status is JobStatus.PROCESSING:
        return _decide_running(job, now, figures)
    if job.status is JobStatus.PENDING:
        return _decide_waiting(job, now, figures)
    return Revive() if job.status is JobStatus.FAILED and is_due(job, now) else None


def delay_seconds(job: Job, now: int) -> int:
    """Return the whole seconds for which SQS must delay the message: rounded up, so the job never starts before it is
    due.
    """
    return min(SQS_MAX_DELAY, max(0, math.ceil((job.available_at - now) / 1000)))


def worth_reading_after_ms(settings: Settings, queue: str) -> int:
    """Return how many milliseconds after its due time a job of a queue may first need an action, except jobs of lost
    workers.

    The shorter of the first re-dispatch delay and the shortest lease: the queue's fixed one, else the grace, because
    every other lease is longer than that. A job that expires is in the index `jobs.encoding.item.EXPIRES_EARLIER_MS`
    earlier, so it is read that much sooner without reading others.
    """
    fixed = settings.queue(queue).lease_seconds
    lease = fixed if fixed is not None else settings.lease_grace_seconds
    return math.floor(min(float(lease), settings.redispatch_delay(queue)) * 1000)


def _decide_running(job: Job, now: int, figures: Figures) -> Action:
    worker = figures.dead.get(job.worker_id)
    if worker is not None and job.claimed_at < worker.lost_at:
        cause = f"worker {worker.worker_id!r} was last seen at {_text(worker.seen_at)} and counts as lost"
    elif job.claim_token in figures.vouched:
        # a thread cannot be killed at its time limit: as long as its worker's heartbeat names the claim, it runs
        return None
    elif job.lease_expires_at <= now:
        holder = f"worker {job.worker_id!r}" if job.worker_id else "its worker"
        cause = f"{holder} did not end it before its lease ended at {_text(job.lease_expires_at)}"
    else:
        return None
    cancelled = worker is not None and job.job_id in worker.cancelled
    retry = not cancelled and job.on_orphan == "retry" and job.attempts_left > 0
    return Orphan(retry, _orphaned(job, cause, now, retry=retry, cancelled=cancelled), cancelled)


def _decide_waiting(job: Job, now: int, figures: Figures) -> Action:
    if is_late(job, now):
        return Expire()
    if job.dispatches == 0:
        return Dispatch(again=False) if job.available_at - now <= LOOK_AHEAD_MS else None
    pauses, settled = figures.pauses, 0
    if ended := pauses.ended_at(PauseKind.TASK, job.task, now):
        settled = ended + round(figures.settings.heartbeat_seconds * 1000 * LEARNT_AFTER)
    if pauses.holding(job, now) is not None or now < settled:
        return None
    return Dispatch(again=False) if _waited_since(job) < settled else _decide_unclaimed(job, now, figures)


def _decide_unclaimed(job: Job, now: int, figures: Figures) -> Action:
    settings = figures.settings
    queue = job.queue if job.queue in settings.queue_names else settings.default_queue
    waited_since = _waited_since(job)
    resumed_at = figures.pauses.ended_at(PauseKind.QUEUE, job.queue, now)
    if job.dispatched_at > resumed_at - MESSAGES_KEPT_MS:
        waited_since = max(waited_since, resumed_at)
    if _expires_unsent(job, waited_since, now) or (job.unsent and now - waited_since >= UNSURE_AFTER_MS):
        return Dispatch(again=True)
    if _sent_in_the_future(job, now) and job.dispatches < settings.max_dispatches:
        return Dispatch(again=True)
    if now - waited_since < settings.redispatch_delay(queue, job.dispatches) * 1000:
        return None
    if job.dispatches >= settings.max_dispatches:
        return GiveUp(_unclaimed(job, now)) if figures.known else None
    return Dispatch(again=True)


def _waited_since(job: Job) -> int:
    return max(job.available_at, job.dispatched_at)


def _sent_in_the_future(job: Job, now: int) -> bool:
    """Check whether a clock that was ahead wrote the time of the job's last message. Waiting from that time could take
    hours, so the job is dispatched again, with a time from this machine's clock.
    """
    return job.dispatched_at > now + BELIEVED_AHEAD_MS and job.available_at - now <= LOOK_AHEAD_MS


def _expires_unsent(job: Job, waited_since: int, now: int) -> bool:
    """Check whether half of the time between a job's last message and its expiry has passed: its message may be lost,
    and the usual redispatch delay would let the job expire.
    """
    if job.dispatches >= EARLY_DISPATCHES or job.start_by - now < LEAST_LEFT_MS:  # as is a job that never expires
        return False
    return now - waited_since > (job.start_by - waited_since) / 2


def _orphaned(job: Job, cause: str, now: int, *, retry: bool, cancelled: bool) -> Failure:
    if cancelled:
        outcome = "its worker had been asked to cancel it"
    elif retry:
        outcome = "it is retried"
    elif job.on_orphan == "retry":
        outcome = f"all of its {job.max_attempts} attempts are used up"
    else:
        outcome = "it may have done part of its work: check its effects, then retry it, or set on_orphan='retry'"
    message = f"attempt {job.attempt}, claimed at {_text(job.claimed_at)}, is an orphan: {cause}; {outcome}"
    return Failure(kind=FailureKind.CANCELLED if cancelled else FailureKind.ORPHANED, message=message, at=now)


def _unclaimed(job: Job, now: int) -> Failure:
    message = (
        f"{job.dispatches} messages for task {job.task!r} were sent to queue {job.queue!r} and no worker claimed the "
        f"job; check that a worker listens to {job.queue!r}, that its task modules register {job.task!r}, and that it "
        "may write to the job table; then retry the job"
    )
    return Failure(kind=FailureKind.CONFIGURATION, message=message, at=now)


def _text(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds") if at else "an unknown time"
