"""Reads the statistics of runs that `jobclaim.jobs.storage.statistics` writes: figures by task and hour, in UTC."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from jobclaim.jobs import checks
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, number_in
from jobclaim.jobs.protocol.histogram import percentile
from jobclaim.jobs.storage.reads import BATCH
from jobclaim.jobs.storage.statistics import ALL, DAY_MS, HOUR_MS, Code, key_of, task_of
from jobclaim.jobs.storage.table import JobTable

DAY_HOURS: Final = 24
WEEK_DAYS: Final = 7
MONTH_DAYS: Final = 30
MOST_TASKS: Final = 100
"""Tasks that one look reads; those that ran most recently come first."""
MOST_ENTRIES: Final = 3 * MOST_TASKS
LIST_DAYS: Final = WEEK_DAYS + 2
"""Days that hold the last day and the week before it, wherever midnight is."""
LIST_REQUESTS: Final = 1 + MOST_TASKS * LIST_DAYS // BATCH
ONE_REQUESTS: Final = 1
_NAME: Final = re.compile(r"h(\d\d)([a-z])(\d*)")

Together = Callable[[Sequence[Callable[[], Any]]], list[Any]]
"""Runs independent requests, and returns their results in order."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Totals of the runs of some hours.

    Attributes
    ----------
    codes : Counter
        Numbers by `Code`.
    durations, waits : Counter
        Numbers by bucket: how long completed runs took, and how long all of them had waited to start.
    """

    codes: Counter[str] = field(default_factory=Counter)
    durations: Counter[int] = field(default_factory=Counter)
    waits: Counter[int] = field(default_factory=Counter)

    @property
    def runs(self) -> int:
        """Runs that completed or failed; a cancelled one did neither."""
        return self.codes[Code.COMPLETED] + self.failures

    @property
    def failures(self) -> int:
        """Failed runs, whether another attempt followed or not."""
        return self.codes[Code.FAILED] + self.codes[Code.RETRIED]

    @property
    def failure_rate(self) -> float | None:
        """Share of the runs that failed, from 0 to 1; ``None`` without any run."""
        return self.failures / self.runs if self.runs else None

    @property
    def retry_success(self) -> float | None:
        """Share of the retried jobs that completed in the end; ``None`` if none has ended."""
        return _share(self.codes[Code.RETRY_COMPLETED], self.codes[Code.RETRY_FAILED])

    @property
    def healing(self) -> float | None:
        """Share of the automatic retries of dead letters that completed; ``None`` if none has ended."""
        return _share(self.codes[Code.HEALED], self.codes[Code.FAILED_AGAIN])

    def duration(self, share: float) -> int | None:
        """Return a percentile of the completed runs' durations in milliseconds, at most 17 % off."""
        return percentile(self.durations, share)

    def wait(self, share: float) -> int | None:
        """Return a percentile of the waits in milliseconds, from due to claimed, at most 17 % off."""
        return percentile(self.waits, share)


@dataclass(frozen=True, slots=True)
class TaskRuns:
    """Runs of one task, or of all, by hour since the epoch."""

    task: str
    hours: Mapping[int, Figures]

    def between(self, first: int, end: int) -> Figures:
        """Add up the hours from ``first`` up to, but not including, ``end``."""
        return total(figures for hour, figures in self.hours.items() if first <= hour < end)

    def last_day(self, now: int) -> Figures:
        """Add up the current hour and the 23 before it."""
        hour = now // HOUR_MS
        return self.between(hour - DAY_HOURS + 1, hour + 1)

    def by_hour(self, now: int) -> list[tuple[int, Figures]]:
        """Return the last 24 hours, oldest first: when each begins in epoch milliseconds, and its figures."""
        hour = now // HOUR_MS
        return [(at * HOUR_MS, self.between(at, at + 1)) for at in range(hour - DAY_HOURS + 1, hour + 1)]

    def by_day(self, now: int) -> list[tuple[int, Figures]]:
        """Return the last 30 days in UTC, oldest first."""
        today = now // DAY_MS
        days = range(today - MONTH_DAYS + 1, today + 1)
        return [(day * DAY_MS, self.between(day * DAY_HOURS, (day + 1) * DAY_HOURS)) for day in days]


@dataclass(frozen=True, slots=True)
class Listed:
    """Tasks that ran lately, by name; ``more`` says that there are others."""

    tasks: tuple[TaskRuns, ...]
    more: bool = False


def total(parts: Iterable[Figures]) -> Figures:
    """Add up figures."""
    summed = Figures()
    for one in parts:
        summed.codes.update(one.codes)
        summed.durations.update(one.durations)
        summed.waits.update(one.waits)
    return summed


def read_task(table: JobTable, task: str, now: int) -> TaskRuns:
    """Read 30 days of one task, or of all tasks together if the name is empty, in one request.

    Raises
    ------
    InvalidInput, StoreUnavailable
    """
    task = checks.optional_text(task, "task")
    return _of_items(task, table.items(_keys([task], now, MONTH_DAYS)))


def read_tasks(table: JobTable, now: int, together: Together | None = None) -> Listed:
    """Read the last day and the week before it of every task that ran in the last days: at most ten requests.

    Parameters
    ----------
    together : callable, optional
        Runs the requests concurrently; default: one after the other.

    Raises
    ------
    StoreUnavailable
    """
    since = (now // DAY_MS - 1) * DAY_MS
    entries = table.entries(schema.RUNS, limit=MOST_ENTRIES, newest_first=True, since=since, up_to=now)
    names = list(dict.fromkeys(name for entry in entries if (name := task_of(entry.job_id)) != ALL))
    kept, days = sorted(names[:MOST_TASKS]), LIST_DAYS
    keys = _keys(kept, now, days)
    requests = [partial(table.items, keys[at : at + BATCH]) for at in range(0, len(keys), BATCH)]
    pages = together(requests) if together is not None else [ask() for ask in requests]
    items: dict[str, list[Item]] = {name: [] for name in kept}
    for item in (item for page in pages for item in page):
        items[task_of(item[schema.KEY]["S"])].append(item)
    more = len(names) > MOST_TASKS or len(entries) == MOST_ENTRIES
    return Listed(tuple(_of_items(name, found) for name, found in items.items()), more)


def _keys(tasks: Sequence[str], now: int, days: int) -> list[str]:
    today = now // DAY_MS
    return [str(key_of(today - ago, task)[schema.KEY]["S"]) for task in tasks for ago in range(days)]


def _of_items(task: str, items: Iterable[Item]) -> TaskRuns:
    hours: dict[int, Figures] = {}
    for item in items:
        first = number_in(item, schema.INDEX_RANGE) // HOUR_MS
        for name in item:
            if (found := _NAME.fullmatch(name)) is not None:
                at, code, bucket = found.groups()
                figures, number = hours.setdefault(first + int(at), Figures()), number_in(item, name)
                if not bucket:
                    figures.codes[code] += number
                elif code == Code.DURATION:
                    figures.durations[int(bucket)] += number
                elif code == Code.WAIT:
                    figures.waits[int(bucket)] += number
    return TaskRuns(task, hours)


def _share(good: int, bad: int) -> float | None:
    return good / (good + bad) if good + bad else None
