"""Recently ended jobs, from the index alone: the newest entries of each shard, and the longest time that they cover."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobclaim.dashboard.meter import Budget
from jobclaim.dashboard.services import Services
from jobclaim.jobs import JobStatus
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.settings import Settings

ENTRIES: Final = 100
"""Newest entries that are read per partition: one or two read units."""
ENTRY_UNITS: Final = 17.0
"""Read units of this many entries with the longest possible ids."""
WINDOWS: Final = ((3_600_000, 300_000), (600_000, 60_000), (60_000, 5_000))
"""Windows and their steps, milliseconds; the longest one that the entries cover is shown."""
RETRY: Final = "RETRY"
KINDS: Final = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class Ended:
    """Jobs that ended in a window.

    Attributes
    ----------
    since : int
        Epoch milliseconds; every job that ended from then on is counted.
    step_ms : int
    counts : mapping of str to int
        Number of jobs by status.
    steps : list of (int, mapping of str to int)
        Start of each step, epoch milliseconds, oldest first, and the jobs that ended in it by status.
    """

    since: int
    length_ms: int
    step_ms: int
    counts: Mapping[str, int]
    steps: list[tuple[int, Mapping[str, int]]]

    def per_minute(self, status: str) -> float:
        """Return how many ended per minute, on average over the window."""
        return self.counts.get(status, 0) * 60_000 / self.length_ms


@dataclass(frozen=True, slots=True)
class Lately:
    """Ended jobs as one view has read them.

    Attributes
    ----------
    waiting : int
        Dead letters that await a person, as far as they were counted; ``waiting_more`` if there are more.
    scheduled : int
        Failed jobs that recovery starts again, as far as they were counted.
    """

    ended: Ended
    waiting: int
    waiting_more: bool
    scheduled: int
    scheduled_more: bool


def budget(settings: Settings) -> Budget:
    """Return the budget: one page of each partition of ended jobs."""
    partitions = settings.index_shards * (len(KINDS) + 1)
    return Budget(partitions, partitions * ENTRY_UNITS)


def read(services: Services) -> Lately:
    """Read the newest entries. Raises `StoreUnavailable`."""
    settings, now = services.settings, services.clock()
    listed = [str(kind) for kind in KINDS if kind is not JobStatus.COMPLETED or settings.index_completed]
    shards = range(settings.index_shards)
    keys = [(kind, schema.closed_key(kind, shard)) for kind in listed for shard in shards]
    keys += [(RETRY, schema.retry_key(shard)) for shard in shards]
    pages = services.together([_reader(services, kind, key) for kind, key in keys])
    found: dict[str, list[list[IndexEntry]]] = {}
    for (kind, _), page in zip(keys, pages, strict=True):
        found.setdefault(kind, []).append(page)
    waiting, scheduled = found.get(JobStatus.FAILED, []), found.pop(RETRY)
    return Lately(
        ended=ended(found, now),
        waiting=sum(map(len, waiting)),
        waiting_more=any(len(page) == ENTRIES for page in waiting),
        scheduled=sum(map(len, scheduled)),
        scheduled_more=any(len(page) == ENTRIES for page in scheduled),
    )


def ended(pages: Mapping[str, Sequence[Sequence[IndexEntry]]], now: int) -> Ended:
    """Count the jobs that ended within the longest window that all pages cover. Pure."""
    full = [page[-1].at for shards in pages.values() for page in shards if len(page) == ENTRIES]
    covered_from = max(full, default=0)
    length, step = next((window for window in WINDOWS if now - window[0] >= covered_from), WINDOWS[-1])
    first = (now // step + 1) * step - length
    steps: list[tuple[int, dict[str, int]]] = [
        (first + n * step, dict.fromkeys(pages, 0)) for n in range(length // step)
    ]
    for kind, shards in pages.items():
        for page in shards:
            for entry in page:
                n = (entry.at - first) // step
                if 0 <= n < len(steps):
                    steps[n][1][kind] += 1
    counts = {kind: sum(figures[kind] for _, figures in steps) for kind in pages}
    return Ended(first, length, step, counts, [(at, figures) for at, figures in steps])


def _reader(services: Services, kind: str, key: str) -> Callable[[], list[IndexEntry]]:
    table = services.repo.table
    return lambda: table.entries(key, limit=ENTRIES, newest_first=kind != RETRY)
