"""The oldest open jobs of every queue: index entries side by side, then the items of those that matter.

Entries cost next to nothing and have a job's due time; an item shows whether it waits or runs. Jobs that the fleet
reports as running need not be read, so the oldest waiting job is found behind any number of older running ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobclaim.dashboard.meter import Budget, Meter
from jobclaim.dashboard.queries.walk import HEAVIEST
from jobclaim.dashboard.services import Services
from jobclaim.jobs import Job
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.settings import Settings

ENTRIES: Final = 50
"""Index entries that are read per partition."""
ENTRY_UNITS: Final = 8.5
"""Read units of this many entries with the longest possible ids."""
PER_QUEUE: Final = 10
"""Items that are read per queue."""
BATCH: Final = 60
"""Items that are read at a time, if all of them had the largest possible size."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A queue's oldest open jobs.

    Attributes
    ----------
    entries : tuple of IndexEntry
        Oldest first, over all shards.
    more : bool
        Whether there are more than were read.
    jobs : mapping of str to Job
        The jobs that were read, by id; the oldest of those chosen.
    """

    entries: tuple[IndexEntry, ...]
    more: bool
    jobs: Mapping[str, Job]


Choose = Callable[[Sequence[IndexEntry]], Sequence[str]]
"""Selects from a queue's entries, oldest first, the ids of the jobs to be read."""


def budget(settings: Settings, queues: int) -> Budget:
    """Return the most that reading some queues may cost."""
    partitions = queues * settings.index_shards
    batches = queues * PER_QUEUE // BATCH + 4
    return Budget(partitions + batches, partitions * ENTRY_UNITS + (BATCH + 1) * HEAVIEST)


def look(services: Services, meter: Meter, queues: Sequence[str], choose: Choose) -> dict[str, Opened]:
    """Read the oldest open jobs of queues. Raises `StoreUnavailable`."""
    shards = range(services.settings.index_shards)
    keys = [(queue, schema.open_key(queue, shard)) for queue in queues for shard in shards]
    pages = services.together([_reader(services, key) for _, key in keys])
    found: dict[str, list[IndexEntry]] = {queue: [] for queue in queues}
    more: set[str] = set()
    for (queue, _), page in zip(keys, pages, strict=True):
        found[queue] += page
        if len(page) == ENTRIES:
            more.add(queue)
    ordered = {queue: tuple(sorted(entries, key=lambda one: one.at)) for queue, entries in found.items()}
    chosen = {queue: tuple(choose(entries))[:PER_QUEUE] for queue, entries in ordered.items()}
    jobs = read(services, meter, [job_id for ids in chosen.values() for job_id in ids])
    return {
        queue: Opened(entries, queue in more, {job_id: jobs[job_id] for job_id in chosen[queue] if job_id in jobs})
        for queue, entries in ordered.items()
    }


def read(services: Services, meter: Meter, job_ids: Sequence[str]) -> dict[str, Job]:
    """Read items in batches that fit the budget at their largest; items that do not fit are left out."""
    found: dict[str, Job] = {}
    unread_ids = list(dict.fromkeys(job_ids))
    while unread_ids and meter.room():
        count = min(BATCH, int((meter.budget.read_units - meter.read_units) // HEAVIEST))
        if count < 1:
            break
        found |= services.repo.table.get_many(unread_ids[:count])
        unread_ids = unread_ids[count:]
    return found


def _reader(services: Services, key: str) -> Callable[[], list[IndexEntry]]:
    return lambda: services.repo.table.entries(key, limit=ENTRIES)
