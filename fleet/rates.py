"""Rates that the whole fleet keeps: how often a task may start, one small record each in the fleet table.

A rate is a schedule, not a gate that everybody hammers on (the "generic cell rate algorithm"): a record holds times at
which buckets will be full again, and whoever asks moves one of them on by an interval::

    spent    |now|────▶      what has started; nothing starts but by moving this one, so no more start than may
    tat      |now|────────────────────▶      what was promised: a job that must wait gets a turn, and comes back for it
    again    |now|──▶        jobs that came for their turn and found none left, because others had come late

A message may wait in its queue for minutes, so a turn is no moment but a right to ask again: who comes late takes what
is left now. Who comes with many others waits a few seconds in its process for its start, or gets a new turn soon. Jobs
that come late in a row are promised turns half as often again as the rate allows, for most of them come at other times
than they were asked to; only `spent` decides who starts.

Times are the askers' own. One that is further ahead than any clock may be is not believed: it is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from jobclaim.jobs.clock import BELIEVED_AHEAD_MS
from jobclaim.jobs.errors import InvalidInput

HORIZON_MS: Final = 7 * 86_400_000
"""Turns are given out that far ahead; who comes after that asks again."""
LONGEST_PATIENCE_MS: Final = 60_000
"""A job waits no longer than that for its start inside a process."""
UNUSED_MS: Final = 5_000
"""A start that nobody took for so long is anybody's: those who were promised it are late or gone."""
MORE_TURNS: Final = 1.5
"""Turns promised for each start, where messages wait long in their queue."""
LONGEST_AGAIN_MS: Final = 900_000
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How often something may start, over the whole fleet.

    Attributes
    ----------
    interval_us : int
        Microseconds from one start to the next.
    burst : int
        Starts that may come at once after a quiet time.
    """

    interval_us: int
    burst: int = 1

    @classmethod
    def parse(cls, rate: str | float, burst: int = 1) -> Self:
        """Read a rate as Celery writes them: ``"10/s"``, ``"100/m"``, ``"1000/h"``, or a number per second.

        Raises
        ------
        InvalidInput
            Anything else, or a rate of nothing.
        """
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*([smh]))?\s*", str(rate))
        per_second = float(found[1]) / _UNITS[found[2] or "s"] if found else 0.0
        if not 1e-5 <= per_second <= 1000 or isinstance(burst, bool) or not 1 <= burst <= 100_000:
            raise InvalidInput(
                f"rate {rate!r} with burst {burst!r}: write '10/s', '100/m' or '1000/h', at most 1000/s, and a burst "
                "of 1 or more"
            )
        return cls(max(1, round(1_000_000 / per_second)), burst)


@dataclass(frozen=True, slots=True)
class Coming:
    """How a job comes to ask for its start.

    Attributes
    ----------
    patience_ms : int
        For how long it would wait for its start in its process.
    holder : bool
        Whether it was given a turn before.
    late : bool
        Whether its message waited long in its queue: then those of others do too, and it need not leave starts to them.
    """

    patience_ms: int = 0
    holder: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """When the asker may start, or come back to ask again, epoch milliseconds.

    Attributes
    ----------
    reserved : bool
        Whether this turn is its own.
    starts : bool
        Whether this is its start: it counts as started now, and begins at ``at``.
    """

    at: int
    reserved: bool
    starts: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as it was last seen, microseconds; 0 for what it does not hold."""

    spent: int = 0
    tat: int = 0
    again: int = 0
    since: int = 0


@dataclass(frozen=True, slots=True)
class RateWrite:
    """One conditional write, and what it means for the asker if it is applied.

    Attributes
    ----------
    at : callable
        From the record after the write: when to start or to come back, microseconds.
    """

    expression: str
    condition: str
    values: dict[str, int]
    at: Callable[[Seen], int]
    starts: bool


def next_step(seen: Seen, limit: RateLimit, now: int, coming: Coming) -> RateWrite | None:
    """Tell what to write, by the record as it was seen; ``None`` where no turn is left within the horizon.

    Each condition names the whole range of records for which its write is right, not the one that was seen: of many
    who ask at once few are refused.

    Parameters
    ----------
    now : int
        Epoch microseconds.
    """
    sure = _believed(seen, limit, now)
    free = max(now, sure.spent - (limit.burst - 1) * limit.interval_us)
    may_overtake = coming.holder or coming.late
    if not may_overtake and max(sure.spent, sure.tat) <= now + (limit.burst - 1) * limit.interval_us:
        return _start_in_turn(sure, limit, now)
    unused = sure.spent + UNUSED_MS * 1000 <= now
    if (may_overtake or unused) and free <= now + coming.patience_ms * 1000:
        return _start(sure, limit, now, coming)
    return _come_again(sure, limit, now) if coming.holder else _promise(sure, limit, now, late=coming.late)


def _believed(seen: Seen, limit: RateLimit, now: int) -> Seen:
    return Seen(
        spent=seen.spent if seen.spent <= _latest_spent(limit, now) else 0,
        tat=seen.tat if seen.since <= now + BELIEVED_AHEAD_MS * 1000 else 0,
        again=seen.again if seen.again <= _latest_again(limit, now) else 0,
        since=seen.since,
    )


def _latest_spent(limit: RateLimit, now: int) -> int:
    return now + limit.burst * limit.interval_us + (LONGEST_PATIENCE_MS + BELIEVED_AHEAD_MS) * 1000


def _latest_again(limit: RateLimit, now: int) -> int:
    return now + max(100 * limit.interval_us, LONGEST_AGAIN_MS * 1000)


def _start(sure: Seen, limit: RateLimit, now: int, coming: Coming) -> RateWrite:
    """Start by what has started alone, whatever was promised."""
    step, before = limit.interval_us, (limit.burst - 1) * limit.interval_us
    if sure.spent < now:
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
        {":step": step, ":now": now, ":latest": now + coming.patience_ms * 1000 + before},
        lambda after: max(now, after.spent - step - before),
        starts=True,
    )


def _start_in_turn(sure: Seen, limit: RateLimit, now: int) -> RateWrite:
    """Start where nothing that was promised comes before it; both buckets move on."""
    step = limit.interval_us
    if max(sure.spent, sure.tat) < now:
        return RateWrite(
            "SET spent = :fresh, tat = :fresh, since = :now",
            "(attribute_not_exists(spent) OR spent < :now OR spent > :wild)"
            " AND (attribute_not_exists(tat) OR tat < :now OR since > :ahead)",
            {":fresh": now + step, ":now": now, ":wild": _latest_spent(limit, now), ":ahead": _ahead(now)},
            lambda _: now,
            starts=True,
        )
    first, second = ("tat", "spent") if sure.tat >= sure.spent else ("spent", "tat")
    return RateWrite(
        f"SET {first} = {first} + :step, {second} = {first} + :step",
        f"{first} BETWEEN :now AND :latest AND (attribute_not_exists({second}) OR {second} <= {first})",
        {":step": step, ":now": now, ":latest": now + (limit.burst - 1) * step},
        lambda _: now,
        starts=True,
    )


def _promise(sure: Seen, limit: RateLimit, now: int, *, late: bool) -> RateWrite | None:
    """Give the turn after all that were given."""
    step, before = limit.interval_us, (limit.burst - 1) * limit.interval_us
    if late:
        step = max(1, round(step / MORE_TURNS))
    floor, horizon = max(now, sure.spent), now + HORIZON_MS * 1000
    if sure.tat > horizon:
        return None
    values = {":floor": floor, ":ahead": _ahead(now)}
    if sure.tat < floor:
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


def _come_again(sure: Seen, limit: RateLimit, now: int) -> RateWrite:
    """Give a job that came for its turn in vain another one soon, not behind all that were promised."""
    step, latest = limit.interval_us, _latest_again(limit, now)
    if sure.again < now:
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
