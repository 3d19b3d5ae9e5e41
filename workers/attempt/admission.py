"""Whether a claimed job may start now, by the limits that its task sets on the whole fleet.

::

    concurrency_key    "tenant_id", limit 2 ──▶ two jobs of this tenant run: come back in a while, longer each time
    rate_limit         "100/m" ──────────────▶ 100 a minute have started: your turn is at 12:00:07, come back then

Either way the job goes back without charging an attempt. A turn that was given is noted in the job, and makes it one of
those that go before newcomers. It may come late for it, because its message waited: then it starts as soon as the rate
allows, for which it waits some seconds in its process, the longer the oftener it came.
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

TURN_GRACE_MS: Final = 5_000
"""How late a job may come for its turn and still count as one whose message did not wait."""
TURN_EARLY_MS: Final = 1_000
"""How early, by the clock of another machine than the one that reserved it."""
PATIENCE: Final = ((4, 5_000, 20_000), (20, 15_000, 60_000))
"""For how long a job waits in its process for its start, when it comes for the first turn and for later ones: intervals
of the rate, but milliseconds at least and at most."""
PATIENCE_SHARE: Final = 10
"""A soft time limit is at least that many times as long: the wait counts against it."""
LONGEST_VALUE: Final = 200
"""Characters of a concurrency key's value that are kept as they are, for people to read."""
FIRST_WAIT_MS: Final = 1_000
LONGEST_WAIT_MS: Final = 30_000
"""Waits of a job whose concurrency key is taken."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Not now.

    Attributes
    ----------
    until : int
        When to come back, epoch milliseconds.
    slot : int
        The same, where it is a turn that is kept for the job; else 0.
    """

    until: int
    slot: int
    reason: str


def ask(task: Any, job: Job, name: str, limits: FleetLimits, now: int) -> Hold | None:
    """Ask for leave to start a claimed job; ``None`` grants it, and then it must leave its name when it has ended.

    Parameters
    ----------
    name : str
        What it counts against, from `concurrency_name`; empty for nothing.

    Raises
    ------
    StoreUnavailable
    """
    if name and not limits.enter(name, task.concurrency_limit, job):
        wait = backoff_ms(job.attempt - job.charged)
        return Hold(now + wait, 0, f"{task.concurrency_limit} of its concurrency key run already")
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
    return Hold(turn.at, turn.at if turn.reserved else 0, f"the rate limit of {task.rate_limit} is used up")


def _granted(job: Job, name: str, limits: FleetLimits) -> Hold | None:
    """Grant a start, unless the lease went by while the limits were asked: no body may run beside the next attempt."""
    now = limits.now()
    if now < job.lease_expires_at:
        return None
    if name:
        limits.leave(name, job)
    return Hold(now, 0, "its lease was over before its limits let it start")


def concurrency_name(task: Any, values: Callable[[], dict[str, Any]]) -> str:
    """Name of what a job counts against; empty where its task has no concurrency key, or this call no value for it."""
    key = task.concurrency_key
    if key is None:
        return ""
    value = key(values()) if callable(key) else values().get(key)
    if value is None:
        return ""
    text = canonical(value)
    return f"{task.concurrency_group or task.name}/{text if len(text) <= LONGEST_VALUE else derive_key('', value)}"


def has_turn(job: Job, now: int) -> bool:
    """Whether a job comes in time for the turn that a rate limit gave it."""
    return job.slot > 0 and job.slot - TURN_EARLY_MS <= now <= job.slot + TURN_GRACE_MS


def coming_of(job: Job, limit: RateLimit, now: int, most_ms: int) -> Coming:
    """Tell how a job comes to ask for its start: for the first time or for its turn, in time or late, how patient.

    Parameters
    ----------
    most_ms : int
        Bounds its patience.
    """
    holder = job.slot > 0
    late = not has_turn(job, now) if holder else job.wait_ms > TURN_GRACE_MS
    if not holder and not late:
        return Coming()
    intervals, least, most = PATIENCE[job.attempt - job.charged > 1]
    patience = max(least, min(most, intervals * limit.interval_us // 1000))
    return Coming(min(most_ms, patience), holder, late)


def backoff_ms(given_back: int, *, draw: Callable[[], float] = random.random) -> int:
    """Milliseconds until a job asks again that was given back so often: doubling, at least half of it sure."""
    doublings = min(max(0, given_back - 1), 10)
    full = min(LONGEST_WAIT_MS, FIRST_WAIT_MS << doublings)
    return round(full * (0.5 + draw() / 2))
