"""When a crontab fires in a time zone: the next tick and the previous one, as pure functions of the calendar.

::

    30 2 * * *  in Europe/Berlin      clock goes forward      01:30  [02:30 is skipped]  03:00 ◀ runs here, once
                                      clock goes back         02:30 ◀ runs here          02:30 again: does not run

A schedule that names hours means local time. A time skipped by the clock change runs at the next minute that exists, a
time that occurs twice runs the first time, and several ticks that fall into one minute are one.

A schedule for every hour (``0 * * * *``, ``*/10 * * * *``) means elapsed time, as in crontab(5): it neither pauses for
the repeated hour nor catches up on the skipped one.

All times are aware; results are in UTC. ``None`` means that no tick comes within forty years.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from jobclaim.specs.cron import LEAP_CYCLE_DAYS, Cron

MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)
AROUND_MIDNIGHT: Final = 3
"""Hours around midnight in which a clock change may lead back into the previous day, or may have done so."""


def next_tick(cron: Cron, after: datetime, zone: tzinfo) -> datetime | None:
    """Return the first tick after a time."""
    return next(ticks_after(cron, after, zone), None)


def previous_tick(cron: Cron, at: datetime, zone: tzinfo) -> datetime | None:
    """Return the last tick up to and including a time."""
    return next(ticks_before(cron, at, zone), None)


def ticks_after(cron: Cron, after: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Yield the ticks after a time, earliest first."""
    last = after
    for tick in _elapsed_after(cron, after, zone) if _every_hour(cron) else _by_wall_after(cron, after, zone):
        if tick > last:
            last = tick
            yield tick


def ticks_before(cron: Cron, at: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Yield the ticks up to and including a time, latest first."""
    last: datetime | None = None
    for tick in _elapsed_before(cron, at, zone) if _every_hour(cron) else _by_wall_before(cron, at, zone):
        if tick <= at and (last is None or tick < last):
            last = tick
            yield tick


def _every_hour(cron: Cron) -> bool:
    return len(cron.hours) == 24


# --- by local time: every time of the calendar maps to one moment, and later times never to an earlier one
def _by_wall_after(cron: Cron, after: datetime, zone: tzinfo) -> Iterator[datetime]:
    start = _wall(after, zone)
    for day in _days(cron, start.date(), forward=True):
        for hour in sorted(cron.hours):
            for minute in sorted(cron.minutes):
                at = datetime.combine(day, time(hour, minute))
                if at > start:
                    yield _moment(at, zone)


def _by_wall_before(cron: Cron, at: datetime, zone: tzinfo) -> Iterator[datetime]:
    start = _end_of_repeated(at, zone)
    for day in _days(cron, start.date(), forward=False):
        for hour in sorted(cron.hours, reverse=True):
            for minute in sorted(cron.minutes, reverse=True):
                wall = datetime.combine(day, time(hour, minute))
                if wall <= start:
                    yield _moment(wall, zone)


def _end_of_repeated(at: datetime, zone: tzinfo) -> datetime:
    """Return the latest local time that can lie before ``at``: in an hour that the clock repeats, one that is still
    ahead.
    """
    local = at.astimezone(zone)
    again = local.utcoffset()
    first = local.replace(fold=0).utcoffset()
    ahead = first - again if first is not None and again is not None else timedelta()
    return _wall(at, zone) + max(ahead, timedelta())


def _moment(wall: datetime, zone: tzinfo) -> datetime:
    """Return the moment of a local time: the first if the clock repeats it, the next minute that exists if it
    skips it.
    """
    local = wall.replace(tzinfo=zone)
    moment = local.astimezone(UTC)
    if _wall(moment, zone) == wall:
        return moment
    # read with the offset before the change, a skipped time is after the change; with the offset after it, before
    low, high = local.replace(fold=1).astimezone(UTC), moment
    while high - low > MINUTE:
        middle = low + (high - low) // MINUTE // 2 * MINUTE
        low, high = (low, middle) if _wall(middle, zone) > wall else (middle, high)
    return high


# --- by elapsed time: minute by minute, whatever the clock shows
def _elapsed_after(cron: Cron, after: datetime, zone: tzinfo) -> Iterator[datetime]:
    at = _floor(after) + MINUTE
    limit = at + LEAP_CYCLE_DAYS * DAY
    while at < limit:
        wall = _wall(at, zone)
        if cron.fits_day(wall.date()):
            if wall.minute in cron.minutes:
                yield at
        elif not (wall.hour < AROUND_MIDNIGHT and cron.fits_day(wall.date() - DAY)):
            day = next(_days(cron, wall.date() + DAY, forward=True), None)
            if day is None:
                return
            at = max(at + MINUTE, _floor(_moment(datetime.combine(day, time()), zone)))
            continue
        at = _next_minute(cron, at, zone, MINUTE)


def _elapsed_before(cron: Cron, at: datetime, zone: tzinfo) -> Iterator[datetime]:
    at = _floor(at)
    limit = at - LEAP_CYCLE_DAYS * DAY
    while at > limit:
        wall = _wall(at, zone)
        if cron.fits_day(wall.date()):
            if wall.minute in cron.minutes:
                yield at
        elif not (wall.hour >= 24 - AROUND_MIDNIGHT and cron.fits_day(wall.date() + DAY)):
            day = next(_days(cron, wall.date() - DAY, forward=False), None)
            if day is None:
                return
            midnight = datetime.combine(day + DAY, time(AROUND_MIDNIGHT))
            at = min(at - MINUTE, _floor(_moment(midnight, zone)))
            continue
        at = _next_minute(cron, at, zone, -MINUTE)


def _next_minute(cron: Cron, at: datetime, zone: tzinfo, step: timedelta) -> datetime:
    """Advance to the next matching minute, but only by one minute if the clock changes on the way."""
    sign = 1 if step > timedelta() else -1
    shown = _wall(at, zone)
    far = min((sign * (minute - shown.minute) - 1) % 60 + 1 for minute in cron.minutes)
    return at + far * step if _wall(at + far * step, zone) == shown + far * step else at + step


def _days(cron: Cron, start: date, *, forward: bool) -> Iterator[date]:
    """Yield the days on which a crontab fires, from a given day on."""
    step = DAY if forward else -DAY
    day = start
    for _ in range(LEAP_CYCLE_DAYS):
        if cron.fits_day(day):
            yield day
        try:
            day += step
        except OverflowError:  # the calendar ends
            return


def _wall(at: datetime, zone: tzinfo) -> datetime:
    """Return the local time at a moment, to the minute."""
    return at.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0, fold=0)


def _floor(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)
