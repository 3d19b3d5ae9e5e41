"""Rhythms: when an entry of a beat schedule is due, the same in all beats, whenever each was started.

::

    ScheduleSpec.every, a number, a timedelta, schedule(...)   Every       counted from the epoch
    ScheduleSpec.cron                                          CronTicks   crontab(5), in the spec's time zone
    celery.schedules.crontab                                   CronTicks   its own fields, in the app's time zone
    solar, subclasses, crontab(nowfun=...)                     as they are: their own `is_due` decides
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from celery.schedules import BaseSchedule, crontab, schedstate, schedule

from jobclaim.specs.cron import Cron
from jobclaim.specs.ticks import next_tick, previous_tick

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NEVER_SECONDS: Final = 86_400.0
"""Seconds that Celery waits for a schedule that never fires."""


class Fixed(BaseSchedule):
    """A rhythm that depends on the calendar only; it also has Celery's interface, for another scheduler."""

    def previous(self, at: datetime) -> datetime | None:
        """Return the last tick up to a time, inclusive."""
        raise NotImplementedError

    def following(self, at: datetime) -> datetime | None:
        """Return the first tick after a time."""
        raise NotImplementedError

    def is_due(self, last_run_at: datetime) -> Any:
        """Return whether a tick lies between the last run and now, and the seconds until the next one."""
        now = aware(self.now(), UTC)
        previous, following = self.previous(now), self.following(now)
        due = previous is not None and aware(last_run_at, UTC) < previous
        return schedstate(due, (following - now).total_seconds() if following else NEVER_SECONDS)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return the time until the first tick after the last run."""
        following = self.following(aware(last_run_at, UTC))
        return following - aware(self.now(), UTC) if following else timedelta(seconds=NEVER_SECONDS)


class Every(Fixed):
    """An interval counted from the epoch, so that all beats use the same times."""

    def __init__(self, run_every: float | timedelta, **options: Any) -> None:
        super().__init__(**options)
        self.run_every = run_every if isinstance(run_every, timedelta) else timedelta(seconds=run_every)

    def boundary(self, at: datetime) -> datetime:
        """Return the last multiple of the interval up to ``at``."""
        return EPOCH + ((at - EPOCH) // self.run_every) * self.run_every

    def previous(self, at: datetime) -> datetime:
        """Return the last tick up to a time, inclusive."""
        return self.boundary(at)

    def following(self, at: datetime) -> datetime:
        """Return the first tick after a time."""
        return self.boundary(at) + self.run_every

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Every) and self.run_every == other.run_every

    __hash__ = None  # type: ignore[assignment]  # as Celery's own: a schedule may be changed

    def __repr__(self) -> str:
        return f"<every {self.run_every.total_seconds():g} s>"

    def __reduce__(self) -> Any:
        return Every, (self.run_every,)


class CronTicks(Fixed):
    """A crontab in a time zone, clock changes included: `jobclaim.specs.ticks`."""

    def __init__(self, cron: Cron, zone: tzinfo = UTC, text: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.cron, self.zone, self.text = cron, zone, text

    def previous(self, at: datetime) -> datetime | None:
        """Return the last tick up to a time, inclusive."""
        return previous_tick(self.cron, at, self.zone)

    def following(self, at: datetime) -> datetime | None:
        """Return the first tick after a time."""
        return next_tick(self.cron, at, self.zone)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CronTicks) and (self.cron, str(self.zone)) == (other.cron, str(other.zone))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<cron {self.text or self.cron} in {self.zone}>"

    def __reduce__(self) -> Any:
        return CronTicks, (self.cron, self.zone, self.text)


def rhythm(known: Any, zone: tzinfo) -> Any:
    """Return the rhythm of a Celery schedule; a schedule of another kind is returned unchanged.

    Parameters
    ----------
    zone : tzinfo
        Zone of Celery's crontabs: the app's.
    """
    if type(known) is schedule and known.nowfun is None and known.run_every > timedelta():
        return Every(known.run_every, app=known.app)
    if type(known) is crontab and known.nowfun is None:
        return CronTicks(cron_of(known), zone, " ".join(map(str, _fields(known))), app=known.app)
    return known


def cron_of(known: Any) -> Cron:
    """Read the fields of a Celery crontab, whose day must fit all of them at once."""
    minutes, hours, weekdays, days, months = (
        _ints(getattr(known, name)) for name in ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
    )
    return Cron(minutes, hours, weekdays, days, months)


def aware(at: datetime, zone: tzinfo) -> datetime:
    """Return a time as an aware one: without a zone it gets the schedule's."""
    return at if at.tzinfo is not None else at.replace(tzinfo=zone)


def _fields(known: Any) -> Iterable[Any]:
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    return (getattr(known, f"_orig_{name}") for name in names)


def _ints(values: Iterable[Any]) -> frozenset[int]:
    return frozenset(int(value) for value in values)
