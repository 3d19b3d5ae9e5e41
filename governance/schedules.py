"""The entries of a beat schedule as values, and when they fire: pure functions of the calendar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, pairwise, takewhile
from typing import Any, Final

from jobclaim.specs.cron import Cron
from jobclaim.specs.ticks import ticks_after, ticks_before

MINUTES_OF_A_WEEK: Final = 7 * 24 * 60
MINUTE: Final = timedelta(minutes=1)
MONDAY: Final = datetime(2024, 1, 1, tzinfo=UTC)


NEVER: Final = Cron(days=frozenset())
"""Placeholder of a crontab that Celery itself refuses."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a beat schedule.

    Attributes
    ----------
    when : Cron or float or None
        A crontab, an interval in seconds, or ``None`` for a kind that is not supported (solar, custom).
    queue : str
        Its queue, empty for the default.
    expires : float, optional
        Seconds after its time for which a tick may start; ``None`` if it does not expire.
    expires_given : bool
        Whether there is an expiry, including one that cannot be evaluated: a time, or a name in source code.
    zone : tzinfo, optional
        Time zone of its crontab; ``None`` for source code, where it is unknown.
    task_known : bool
        Whether ``task`` is the task's name; otherwise it is the expression that computes it.
    """

    name: str
    task: str
    when: Cron | float | None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    queue: str = ""
    expires: float | None = None
    expires_given: bool = False
    file: str = ""
    line: int = 0
    zone: tzinfo | None = None
    task_known: bool = True

    def minutes_of_a_week(self, monday: datetime = MONDAY) -> Iterator[int]:
        """Return the minutes of a week, counted from Monday 0:00, in which it fires."""
        if isinstance(self.when, Cron):
            ticks = ticks_after(self.when, monday - MINUTE, self.zone or monday.tzinfo or UTC)
            yield from takewhile(lambda minute: minute < MINUTES_OF_A_WEEK, ((at - monday) // MINUTE for at in ticks))
        elif self.when:
            start, seconds = int(monday.timestamp()), self.when
            first = -(-start // seconds) * seconds
            seen = -1
            for n in range(int(min((start + 7 * 86_400 - first) // seconds + 1, 7 * 86_400))):
                minute = int((first + n * seconds - start) // 60)
                if minute != seen and minute < MINUTES_OF_A_WEEK:
                    seen = minute
                    yield minute

    def shortest_gap_seconds(self) -> float | None:
        """Return the shortest time between two ticks, seconds; ``None`` if it is unknown or longer than a week."""
        if isinstance(self.when, float):
            return self.when
        minutes = list(self.minutes_of_a_week())
        if len(minutes) < 2:
            return None
        gaps = [later - earlier for earlier, later in pairwise(minutes)]
        return 60.0 * min([*gaps, minutes[0] + MINUTES_OF_A_WEEK - minutes[-1]])

    @property
    def fires_all_the_time(self) -> bool:
        """Return whether it fires in every minute."""
        if isinstance(self.when, Cron):
            return self.when == Cron()
        return self.when is not None and self.when <= 60


def next_fires(entry: Entry, after: datetime, count: int) -> list[datetime]:
    """Return the next times at which an entry fires; only those within forty years."""
    zone = after.tzinfo or UTC
    if isinstance(entry.when, Cron):
        return [at.astimezone(zone) for at in islice(ticks_after(entry.when, after, entry.zone or zone), count)]
    if not entry.when:
        return []
    first = (after.timestamp() // entry.when + 1) * entry.when
    return [datetime.fromtimestamp(first + n * entry.when, zone) for n in range(count)]


def last_fires(entry: Entry, before: datetime, count: int) -> list[datetime]:
    """Return the last times at which an entry fired, newest first; only those within forty years."""
    if isinstance(entry.when, Cron):
        return list(islice(ticks_before(entry.when, before, entry.zone or UTC), count))
    if not entry.when:
        return []
    first = before.timestamp() // entry.when * entry.when
    return [datetime.fromtimestamp(first - n * entry.when, UTC) for n in range(count)]


def clock_changes(zone: tzinfo, year: int) -> list[tuple[datetime, str]]:
    """Return the local hours that a year skips or repeats in a time zone: their start, and which of the two."""
    found = []
    at = datetime(year, 1, 1, tzinfo=UTC)
    offset = at.astimezone(zone).utcoffset()
    for _ in range(366 * 24):
        at += timedelta(hours=1)
        now = at.astimezone(zone).utcoffset()
        if offset is not None and now is not None and now != offset:
            wall = at.astimezone(zone).replace(tzinfo=None)
            forward = now > offset
            found.append((wall - (now - offset) if forward else wall, "skipped" if forward else "repeated"))
        offset = now
    return found


def entries_of(app: Any, places: Mapping[str, tuple[str, int]] | None = None) -> list[Entry]:
    """Read the beat schedule of a Celery app; ``places`` gives the file and line of an entry's name."""
    known, zone = places or {}, app.timezone
    return [
        entry_of(name, row, *known.get(name, ("", 0)), zone=zone)
        for name, row in (app.conf.beat_schedule or {}).items()
    ]


def entry_of(
    name: str,
    row: Mapping[str, Any],
    file: str = "",
    line: int = 0,
    *,
    zone: tzinfo | None = None,
    task_known: bool = True,
) -> Entry:
    """Read one of Celery's entries; ``zone`` is the app's, for crontabs without their own."""
    options = row.get("options") or {}
    computed = not isinstance(options, Mapping)
    known: Mapping[str, Any] = {} if computed else options
    queue = known.get("queue", "")
    return Entry(
        name=name,
        task=str(row["task"]),
        when=_when(row["schedule"]),
        args=_tuple(row.get("args")),
        kwargs=_mapping(row.get("kwargs")),
        queue=str(getattr(queue, "name", queue) or ""),
        expires=_seconds(known.get("expires")),
        expires_given=computed or known.get("expires") is not None,
        file=file,
        line=line,
        zone=getattr(row["schedule"], "zone", zone),
        task_known=task_known,
    )


def _tuple(args: Any) -> tuple[Any, ...]:
    """Return the arguments as a tuple; arguments that the source computes are their source text."""
    return tuple(args) if isinstance(args, (list, tuple)) else (args,) if args else ()


def _mapping(kwargs: Any) -> dict[str, Any]:
    return dict(kwargs) if isinstance(kwargs, Mapping) else {"**": kwargs} if kwargs else {}


def _when(schedule: Any) -> Cron | float | None:
    if isinstance(cron := getattr(schedule, "cron", schedule), Cron):
        return cron
    if hasattr(schedule, "day_of_week") and hasattr(schedule, "month_of_year"):
        minutes, hours, weekdays, days, months = (
            frozenset(_ints(getattr(schedule, name)))
            for name in ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
        )
        return Cron(minutes, hours, weekdays, days, months)
    return _seconds(getattr(schedule, "run_every", schedule))


def _ints(values: Iterable[Any]) -> Iterator[int]:
    return (int(value) for value in values)


def _seconds(value: Any) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else None
