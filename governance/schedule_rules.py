"""Rules for a beat schedule. Each rule is a pure function of the entries and of what the app knows."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

from jobclaim.governance.schedules import MONDAY, Entry, clock_changes
from jobclaim.specs.cron import Cron
from jobclaim.specs.finding import Finding

HOTSPOT: Final = 5
"""Entries in one minute from which it is a hotspot."""
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class World:
    """Input of the rules besides the entries.

    Attributes
    ----------
    tasks : frozenset of str, optional
        Registered names; ``None`` if unknown, as for code that is only parsed.
    patterns : tuple of str
        Regular expressions of registered names that are partly computed.
    known : tuple of str
        Shell patterns of names that the user declares to exist.
    registry : str
        Where the names come from, in words, for messages.
    idempotent : frozenset of str, optional
        Tasks for which two equal ticks are one run.
    queues : frozenset of str, optional
        Queues that have a consumer.
    queue_of : mapping
        Queues of tasks by route.
    default_queue : str
    expires_by_default : bool
        Whether the scheduler itself gives each tick an expiry.
    expiring : frozenset of str
        Tasks that have an expiry of their own.
    aligned : bool
        Whether intervals are counted from the epoch, as by our scheduler. Celery's counts from its own start, so the
        minute in which an interval fires is unknown.
    zone : tzinfo
        Time zone of crontabs.
    """

    tasks: frozenset[str] | None = None
    patterns: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    registry: str = "registered"
    idempotent: frozenset[str] | None = None
    queues: frozenset[str] | None = None
    queue_of: Mapping[str, str] = field(default_factory=dict)
    default_queue: str = "celery"
    expires_by_default: bool = False
    expiring: frozenset[str] = frozenset()
    aligned: bool = False
    zone: tzinfo = UTC
    year: int = 2025
    hotspot: int = HOTSPOT

    def knows(self, task: str) -> bool:
        """Return whether a task exists: by its name, by a partly computed name, or by the user's declaration."""
        return (
            self.tasks is None
            or task in self.tasks
            or any(re.fullmatch(pattern, task) for pattern in self.patterns)
            or any(fnmatchcase(task, pattern) for pattern in self.known)
        )


def duplicates(entries: Sequence[Entry], world: World) -> Iterator[Finding]:
    """Find entries that start the same call in the same minute."""
    calls = defaultdict(list)
    for entry in entries:
        calls[(entry.task, json.dumps([list(entry.args), dict(entry.kwargs)], sort_keys=True, default=repr))].append(
            entry
        )
    for same in calls.values():
        for n, entry in enumerate(same):
            minutes = set(_minutes(entry, world))
            # an entry replaces an earlier one of its name
            for earlier in (other for other in same[:n] if other.name != entry.name):
                if minutes & set(_minutes(earlier, world)) or (entry.when == earlier.when and entry.when):
                    yield _finding(
                        "duplicates",
                        entry,
                        f"starts {entry.task!r} with the same arguments and in the same minutes as {earlier.name!r}",
                        f"remove one of the two, or give them different arguments or times ({_where(earlier)})",
                    )
                    break


def hotspots(entries: Sequence[Entry], world: World) -> Iterator[Finding]:
    """Find minutes in which many entries fire at once."""
    minutes: dict[int, set[str]] = defaultdict(set)
    for entry in entries:
        if not entry.fires_all_the_time:
            for minute in _minutes(entry, world):
                minutes[minute].add(entry.name)
    worst: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for minute, names in minutes.items():
        if len(names) >= world.hotspot:
            worst[tuple(sorted(names))].append(minute)
    by_name = {entry.name: entry for entry in entries}
    for group, when in sorted(worst.items(), key=lambda row: (-len(row[0]), row[1])):
        yield Finding(
            "hotspots",
            clock(when[0]),
            by_name[group[0]].file,
            by_name[group[0]].line,
            f"{len(group)} entries fire in the same minute, {len(when)} times a week: {', '.join(group)}",
            "move some of them by a few minutes",
            cause="minutes in which many entries fire",
        )


def idempotency(entries: Sequence[Entry], world: World) -> Iterator[Finding]:
    """Find entries whose tick runs twice if a message is delivered twice or, with Celery's beat, two beats run."""
    cause = "a message that SQS delivers twice" if world.aligned else "a second beat, or a message that comes twice,"
    for entry in entries:
        known = entry.task_known and world.knows(entry.task)
        if world.idempotent is not None and known and entry.task not in world.idempotent:
            yield _finding(
                "idempotency",
                entry,
                f"task {entry.task!r} is not idempotent: {cause} runs one tick twice",
                "give the task base=JobTask (each tick is then one job) or put @with_idempotency above it",
                cause="entries whose task is not idempotent",
            )


def orphaned_tasks(entries: Sequence[Entry], world: World) -> Iterator[Finding]:
    """Find entries whose task is not registered."""
    for entry in entries:
        if entry.task_known and not world.knows(entry.task):
            close = get_close_matches(entry.task, world.tasks or (), n=1, cutoff=0.6)
            yield _finding(
                "orphaned-tasks",
                entry,
                f"task {entry.task!r} is not {world.registry}, so every tick fails in a worker",
                f"did you mean {close[0]!r}?" if close else "correct the name, or import the task's module in the app",
            )


def expires(entries: Sequence[Entry], world: World) -> Iterator[Finding]:
    """Find entries whose ticks pile up when no worker runs."""
    for entry in entries:
        gap = entry.shortest_gap_seconds()
        if entry.expires is None:
            if not (world.expires_by_default or entry.expires_given or entry.task in world.expiring):
                best = f"{gap:g}" if gap else "the interval in seconds"
                yield _finding(
                    "expires",
                    entry,
                    "has no expires, so all missed ticks run one after the other after an outage",
                    f'add "options": {{"expires": {best}}}',
                    cause="entries without expires",
                )
        elif gap is not None and entry.expires > gap:
            yield _finding(
                "expires",
                entry,
                f"expires after {entry.expires:g} s but fires every {gap:g} s, so ticks pile up",
                f"lower expires to {gap:g}",
            )


def unconsumed_queues(entries: Sequence[Entry], world: World) -> Iterator[Finding]:
    """Find entries whose queue has no consumer."""
    for entry in entries:
        queue = entry.queue or world.queue_of.get(entry.task) or world.default_queue
        if world.queues is not None and queue and queue not in world.queues:
            close = get_close_matches(queue, world.queues, n=1, cutoff=0.6)
            yield _finding(
                "queues",
                entry,
                f"goes to queue {queue!r}, which no worker listens to",
                f"did you mean {close[0]!r}?" if close else f"start a worker with -Q {queue}, or correct the queue",
            )


def never_firing(entries: Sequence[Entry], _: World) -> Iterator[Finding]:
    """Find crontabs that never match a day."""
    for entry in entries:
        if isinstance(entry.when, Cron) and not entry.when.ever_fires():
            yield _finding(
                "never-firing",
                entry,
                "never fires, because its day of month, month and day of week never coincide",
                "correct day_of_month, month_of_year or day_of_week; all of them must match the same day",
            )


def daylight_saving(entries: Sequence[Entry], world: World) -> Iterator[Finding]:
    """Find crontabs in local time at an hour that a clock change skips or repeats, if Celery's beat runs them."""
    if world.aligned:
        return  # our scheduler runs a skipped time at the next minute that exists, and a repeated one once
    for entry in entries:
        if not isinstance(entry.when, Cron) or len(entry.when.hours) == 24:
            continue
        zone = entry.zone or world.zone
        for wall, what in clock_changes(zone, world.year):
            if wall.hour in entry.when.hours and entry.when.fits_day(wall.date()):
                verb = "does not fire" if what == "skipped" else "may fire twice"
                yield _finding(
                    "daylight-saving",
                    entry,
                    f"{verb} on {wall:%Y-%m-%d}: the hour {wall:%H}:00 is {what} in {zone}",
                    "choose an hour outside the clock change, run jobclaim's beat, or set the app's timezone to UTC",
                )
                break


RULES: Final[Mapping[str, Callable[[Sequence[Entry], World], Iterable[Finding]]]] = {
    "duplicates": duplicates,
    "hotspots": hotspots,
    "idempotency": idempotency,
    "orphaned-tasks": orphaned_tasks,
    "expires": expires,
    "queues": unconsumed_queues,
    "never-firing": never_firing,
    "daylight-saving": daylight_saving,
}
"""Every rule by the name of its check."""


def validate(entries: Sequence[Entry], world: World, checks: Iterable[str] = ()) -> list[Finding]:
    """Run some checks, default all."""
    return [one for name in (list(checks) or RULES) for one in RULES[name](entries, world)]


def clock(minute: int) -> str:
    """Write a minute of the week: ``Mon 08:00``."""
    day, rest = divmod(minute, 1440)
    return f"{DAYS[day]} {rest // 60:02}:{rest % 60:02}"


def _minutes(entry: Entry, world: World) -> Iterable[int]:
    """Return the minutes of a week in which an entry is known to fire."""
    known = world.aligned or isinstance(entry.when, Cron)
    return entry.minutes_of_a_week(MONDAY.replace(tzinfo=world.zone)) if known else ()


def _finding(check: str, entry: Entry, problem: str, fix: str, cause: str = "") -> Finding:
    return Finding(check, entry.name, entry.file, entry.line, problem, fix, cause=cause)


def _where(entry: Entry) -> str:
    return f"the other is at {entry.file}:{entry.line}" if entry.file else f"the other is {entry.name!r}"
