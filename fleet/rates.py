"""Rates that the whole fleet keeps: how often a task may start, one small record each in the fleet table.

A rate is a schedule, not a counter that all callers contend for (the "generic cell rate algorithm"): a record holds the
times at which buckets will be full again, and each caller moves one of them forward by an interval::

    spent    |now|────▶      actual starts; every start moves this time, so the rate is never exceeded
    tat      |now|────────────────────▶      promised turns: a job that must wait gets a turn, and comes back for it
    again    |now|──▶        jobs that came for their turn and found none left, because other jobs had come late

A message may wait in its queue for minutes, so a turn is not a fixed moment but the right to ask again: a job that
comes late takes what is left then. A job that competes with many others waits a few seconds in its process for its
start, or gets a new turn soon. If several jobs in a row come late, turns are promised half as often again as the rate
allows, because most of those jobs come at other times than they were asked to; only `spent` decides which job starts.

Times are taken from the caller's clock. A time further ahead than any clock may be is ignored and written anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from jobclaim.jobs.clock import BELIEVED_AHEAD_MS
from jobclaim.jobs.errors import InvalidInput

HORIZON_MS: Final = 7 * 86_400_000
"""How far ahead turns are promised; a job beyond that asks again later."""
LONGEST_PATIENCE_MS: Final = 60_000
"""Maximum time that a job waits for its start inside a process."""
UNUSED_MS: Final = 5_000
"""Age after which an unused start is free for any job: the jobs that it was promised to are late or gone."""
MORE_TURNS: Final = 1.5
"""Turns promised per start when messages wait long in their queue."""
LONGEST_AGAIN_MS: Final = 900_000
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How often something may start across the whole fleet.

    Attributes
    ----------
    interval_us : int
        Microseconds between two starts.
    burst : int
        Number of starts that may happen at once after a quiet time.
    """

    interval_us: int
    burst: int = 1

    @classmethod
    def parse(cls, rate: str | float, burst: int = 1) -> Self:
        """Parse a rate as Celery writes it: ``"10/s"``, ``"100/m"``, ``"1000/h"``, or a number per second.

        Raises
        ------
        InvalidInput
            The value is not a rate, or is zero.
        """
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e-\d+)?)\s*(?:/\s*([smh]))?\s*", str(rate))
        per_second = float(found[1]) / _UNITS[found[2] or "s"] if found else 0.0
        if not 1e-5 <= per_second <= 1000 or isinstance(burst, bool) or not 1 <= burst <= 100_000:
            raise InvalidInput(
                f"rate {rate!r} with burst {burst!r} is not valid; write '10/s', '100/m' or '1000/h', at most 1000/s, "
                "and a burst of 1 or more"
            )
        return cls(max(1, round(1_000_000 / per_second)), burst)


@dataclass(frozen=True, slots=True)
class Coming:
    """How a job asks for its start.

    Attributes
    ----------
    patience_ms : int
        How long it would wait for its start in its process.
    holder : bool
        Whether it was promised a turn before.
    late : bool
        Whether its message waited long in its queue. Then other messages wait too, so the job may take a start before
        them.
    """

    patience_ms: int = 0
    holder: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """When the job may start, or ask again, in epoch milliseconds.

    Attributes
    ----------
    reserved : bool
        Whether this turn is reserved for the job.
    starts : bool
        Whether this is its start: it counts as started now, and begins at ``at``.
    """

    at: int
    reserved: bool
    starts: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as it was last seen, in microseconds; 0 for values that it does not hold."""

    spent: int = 0
    tat: int = 0
    again: int = 0
    since: int = 0


@dataclass(frozen=True, slots=True)
class RateWrite:
    """One conditional write, and its meaning for the caller if it is applied.

    Attributes
    ----------
    at : callable
        Computes from the record after the write when to start or to come back, in microseconds.
    """

    expression: str
    condition: str
    values: dict[str, int]
    at: Callable[[Seen], int]
    starts: bool


def next_step(seen: Seen, limit: RateLimit, now: int, caller: Coming) -> RateWrite | None:
    """Return what to write for the record as it was seen; ``None`` if no turn is left within the horizon.

    Each condition names the whole range of records for which its write is right, not only the one that was seen, so
    that few of many simultaneous callers are refused.

    Parameters
    ----------
    now : int
        The current time, epoch microseconds.
    """
    trusted = _without_future_times(seen, limit, now)
    free = max(now, trusted.spent - (limit.burst - 1) * limit.interval_us)
    may_overtake = caller.holder or caller.late
    if not may_overtake and max(trusted.spent, trusted.tat) <= now + (limit.burst - 1) * limit.interval_us:
        return _start_in_turn(trusted, limit, now)
    unused = trusted.spent + UNUSED_MS * 1000 <= now
    if (may_overtake or unused) and free <= now + caller.patience_ms * 1000:
        return _start(trusted, limit, now, caller)
    return _ask_later(trusted, limit, now) if caller.holder else _promise(trusted, limit, now, late=caller.late)


def _without_future_times(seen: Seen, limit: RateLimit, now: int) -> Seen:
    return Seen(
        spent=seen.spent if seen.spent <= _latest_spent(limit, now) else 0,
        tat=seen.tat if seen.since <= now + BELIEVED_AHEAD_MS * 1000 else 0,
        again=seen.again if seen.again <= _latest_again(limit, now) else 0,
    )


def _latest_spent(limit: RateLimit, now: int) -> int:
    return now + limit.burst * limit.interval_us + (LONGEST_PATIENCE_MS + BELIEVED_AHEAD_MS) * 1000


def _latest_again(limit: RateLimit, now: int) -> int:
    return now + max(100 * limit.interval_us, LONGEST_AGAIN_MS * 1000)


def _start(trusted: Seen, limit: RateLimit, now: int, caller: Coming) -> RateWrite:
    """Start a job, ignoring the turns promised to others: only the bucket of actual starts limits it."""
    step, before = limit.interval_us, (limit.burst - 1) * limit.interval_us
    if trusted.spent < now:
        return RateWrite(
            "SET spent = :fresh",
            "attribute_not_exists(spent) OR spent < :now OR spent > :wild",
            {":fresh": now + step, ":now": now, ":wild": _latest_spent(limit, now)},
            lambda _: now,
            starts=True,
        )
    return RateWrite(
        "SET spent = spent + :step",
        "spent BETWEEN :now AND :latest",
        {":step": step, ":now": now, ":latest": now + caller.patience_ms * 1000 + before},
        lambda after: max(now, after.spent - step - before),
        starts=True,
    )


def _start_in_turn(trusted: Seen, limit: RateLimit, now: int) -> RateWrite:
    """Start a job at once if no promised turn comes first; this moves both buckets forward."""
    step = limit.interval_us
    if max(trusted.spent, trusted.tat) < now:
        return RateWrite(
            "SET spent = :fresh, tat = :fresh, since = :now",
            "(attribute_not_exists(spent) OR spent < :now OR spent > :wild)"
            " AND (attribute_not_exists(tat) OR tat < :now OR since > :ahead)",
            {":fresh": now + step, ":now": now, ":wild": _latest_spent(limit, now), ":ahead": _ahead(now)},
            lambda _: now,
            starts=True,
        )
    first, second = ("tat", "spent") if trusted.tat >= trusted.spent else ("spent", "tat")
    return RateWrite(
        f"SET {first} = {first} + :step, {second} = {first} + :step",
        f"{first} BETWEEN :now AND :latest AND (attribute_not_exists({second}) OR {second} <= {first})",
        {":step": step, ":now": now, ":latest": now + (limit.burst - 1) * step},
        lambda _: now,
        starts=True,
    )


def _promise(trusted: Seen, limit: RateLimit, now: int, *, late: bool) -> RateWrite | None:
    """Promise a waiting job the turn after all those already promised; ``None`` beyond the horizon."""
    step, before = limit.interval_us, (limit.burst - 1) * limit.interval_us
    if late:
        step = max(1, round(step / MORE_TURNS))
    floor, horizon = max(now, trusted.spent), now + HORIZON_MS * 1000
    if trusted.tat > horizon:
        return None
    values = {":floor": floor, ":ahead": _ahead(now)}
    if trusted.tat < floor:
        return RateWrite(
            "SET tat = :fresh, since = :now",
            "attribute_not_exists(tat) OR tat < :floor OR since > :ahead",
            {**values, ":fresh": floor + step, ":now": now},
            lambda _: floor - before,
            starts=False,
        )
    return RateWrite(
        "SET tat = tat + :step",
        "tat BETWEEN :floor AND :horizon AND (attribute_not_exists(since) OR since <= :ahead)",
        {**values, ":step": step, ":horizon": horizon},
        lambda after: after.tat - step - before,
        starts=False,
    )


def _ask_later(trusted: Seen, limit: RateLimit, now: int) -> RateWrite:
    """Promise another turn, and soon, because the job came for its turn and found no start left."""
    step, latest = limit.interval_us, _latest_again(limit, now)
    if trusted.again < now:
        return RateWrite(
            "SET again = :fresh",
            "attribute_not_exists(again) OR again < :now OR again > :latest",
            {":fresh": now + step, ":now": now, ":latest": latest},
            lambda after: after.again,
            starts=False,
        )
    return RateWrite(
        "SET again = again + :step",
        "again BETWEEN :now AND :latest",
        {":step": step, ":now": now, ":latest": latest},
        lambda after: after.again,
        starts=False,
    )


def _ahead(now: int) -> int:
    return now + BELIEVED_AHEAD_MS * 1000
