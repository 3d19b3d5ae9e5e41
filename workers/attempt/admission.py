"""Check whether a claimed job may start now, by the rate and concurrency limits of its task across the fleet.

::

    concurrency_key    "tenant_id", limit 2 ──▶ two jobs of this tenant run: try again later, after growing delays
    rate_limit         "100/m" ──────────────▶ 100 a minute have started: a turn at 12:00:07 is reserved

Either way the job is released without charging an attempt. A reserved turn is stored in the job, and gives it
precedence over newcomers. The job may miss its turn because its message waited: then it starts as soon as the rate
allows, and waits for it in its process: some seconds first, and on its third claim up to a minute.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.fleet.limits import FleetLimits
from jobclaim.fleet.rates import Coming, RateLimit
from jobclaim.jobs import Job
from jobclaim.jobs.encoding.canonical import canonical
from jobclaim.jobs.idempotency import derive_key
from jobclaim.jobs.protocol.releases import Held

TURN_GRACE_MS: Final = 5_000
"""How late a job may be for its turn and still count as in time."""
TURN_EARLY_MS: Final = 1_000
"""How early it may be, because the turn was reserved by another machine's clock."""
FIRST_PATIENCE: Final = (4, 5_000, 20_000)
"""How long a job waits in its process for its start when it comes for its first turn: intervals of the rate, within a
minimum and a maximum in milliseconds. On a later turn it waits as long as its time limit and a stop allow, so that its
third claim is its last.
"""
PATIENCE_SHARE: Final = 10
"""A soft time limit is at least this many times the wait, which counts against it."""
LONGEST_VALUE: Final = 200
"""Characters of a concurrency key's value that are kept readable."""
FIRST_WAIT_MS: Final = 1_000
LONGEST_WAIT_MS: Final = 30_000
"""Waits of a job whose concurrency limit has no free slot."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A rate or concurrency limit holds the job.

    Attributes
    ----------
    until : int
        When to try again, epoch milliseconds.
    slot : int
        The same time if it is a turn reserved for the job; else 0.
    """

    until: int
    slot: int
    reason: str
    held: Held


def ask(task: Any, job: Job, name: str, limits: FleetLimits, now: int) -> Hold | None:
    """Request the start of a claimed job; ``None`` grants it, and its slot must then be freed when the job has ended.

    Parameters
    ----------
    name : str
        The name whose slots it takes, from `concurrency_name`; empty for none.

    Raises
    ------
    StoreUnavailable
    """
    if name and not limits.enter(name, task.concurrency_limit, job):
        wait = backoff_ms(job.attempt - job.charged)
        reason = f"{task.concurrency_limit} jobs with its concurrency key are running already"
        return Hold(now + wait, 0, reason, Held.CONCURRENCY_LIMIT)
    if not task.rate_limit:
        return _granted(job, name, limits)
    limit = RateLimit.parse(task.rate_limit, task.rate_burst)
    most = min(
        limits.longest_patience_ms, round((task.soft_time_limit or task.time_limit or 60) * 1000 / PATIENCE_SHARE)
    )
    turn = limits.reserve(task.name, limit, coming_of(job, limit, now, most))
    if turn.starts:
        limits.wait_until(turn.at)
        return _granted(job, name, limits)
    if name:
        limits.leave(name, job)
    reason = f"the rate limit of {task.rate_limit} is used up"
    return Hold(turn.at, turn.at if turn.reserved else 0, reason, Held.RATE_LIMIT)


def _granted(job: Job, name: str, limits: FleetLimits) -> Hold | None:
    """Return ``None`` to start the job; a hold if its lease ended while the limits were asked, because recovery may
    have started the next attempt.
    """
    now = limits.now()
    if now < job.lease_expires_at:
        return None
    if name:
        limits.leave(name, job)
    return Hold(now, 0, "its lease ended before its limits allowed it to start", Held.LATE)


def concurrency_name(task: Any, values: Callable[[], dict[str, Any]]) -> str:
    """Return the name whose slots a job takes; empty if its task has no concurrency key, or the call no value for
    it.
    """
    key = task.concurrency_key
    if key is None:
        return ""
    value = key(values()) if callable(key) else values().get(key)
    if value is None:
        return ""
    text = canonical(value)
    return f"{task.concurrency_group or task.name}/{text if len(text) <= LONGEST_VALUE else derive_key('', value)}"


def has_turn(job: Job, now: int) -> bool:
    """Return whether a job is in time for the turn that a rate limit reserved for it."""
    return job.slot > 0 and job.slot - TURN_EARLY_MS <= now <= job.slot + TURN_GRACE_MS


def coming_of(job: Job, limit: RateLimit, now: int, most_ms: int) -> Coming:
    """Return how a job requests its start: for the first time or for a reserved turn, in time or late, and how long it
    waits.

    Parameters
    ----------
    most_ms : int
        Maximum wait in the process, in milliseconds.
    """
    holder = job.slot > 0
    late = not has_turn(job, now) if holder else job.wait_ms > TURN_GRACE_MS
    if not holder and not late:
        return Coming()
    if job.attempt - job.charged > 1:
        return Coming(most_ms, holder, late)
    intervals, least, most = FIRST_PATIENCE
    return Coming(min(most_ms, max(least, min(most, intervals * limit.interval_us // 1000))), holder, late)


def backoff_ms(given_back: int, *, draw: Callable[[], float] = random.random) -> int:
    """Return the milliseconds until a job that was released so often tries again: doubling, half of it jitter."""
    doublings = min(max(0, given_back - 1), 10)
    full = min(LONGEST_WAIT_MS, FIRST_WAIT_MS << doublings)
    return round(full * (0.5 + draw() / 2))
