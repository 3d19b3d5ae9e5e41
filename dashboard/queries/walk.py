"""One page of a list of jobs: index partitions merged by time, filtered, within the page's budget.

::

    partitions ──25 entries each, side by side──▶ merged by time ──▶ items, in batches ──▶ filter ──▶ rows
    stops when the page is full, at the end, after LOOKED_AT jobs, or when the next batch might exceed the budget;
    the cursor continues after the last job that was read, so that no job is skipped or shown twice

Never counts or scans: the cost of a page depends on queues and index shards, not on the number of jobs.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from jobclaim.dashboard.meter import Meter
from jobclaim.dashboard.services import Services
from jobclaim.jobs import Job
from jobclaim.jobs.storage.listing import Position, decode_cursor, encode_cursor
from jobclaim.jobs.storage.reads import IndexEntry

ENTRIES: Final = 25
"""Index entries that are read per partition at a time: half a read unit."""
BATCH: Final = 30
"""Items that are read at a time."""
LOOKED_AT: Final = 200
"""Most jobs that one view reads to find those that match a filter."""
HEAVIEST: Final = 50.0
"""Read units of the largest item that DynamoDB allows, 400 KB."""


@dataclass(frozen=True, slots=True)
class Found:
    """A page of jobs.

    Attributes
    ----------
    cursor : str or None
        Continues after the last job that was read; ``None`` at the end.
    looked_at : int
        Jobs that were read for it.
    stopped : str
        Why the page ends before it is full; empty if it is full or the last.
    span : tuple of int, optional
        Earliest and latest time in the index of the jobs that were read, epoch milliseconds.
    """

    jobs: tuple[Job, ...]
    cursor: str | None = None
    looked_at: int = 0
    stopped: str = ""
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What to list.

    Attributes
    ----------
    partitions : sequence of str
        Partitions of the index.
    scope : str
        Name of the list; its cursors are not valid for other lists.
    since, up_to : int or None
        Bounds of the index's time, epoch milliseconds.
    looked_at : int
        Most jobs that are read for it.
    """

    partitions: Sequence[str]
    scope: str
    keep: Callable[[Job], bool]
    limit: int
    newest_first: bool
    cursor: str | None = None
    since: int | None = None
    up_to: int | None = None
    looked_at: int = LOOKED_AT


@dataclass(slots=True)
class _Streams:
    """The partitions' entries, read on demand.

    Attributes
    ----------
    positions : dict
        For each partition, the entry after which the list continues.
    rows : dict
        Entries that were read and not taken yet.
    ended : set of str
        Partitions whose rest is in ``rows``.
    last : dict
        The last entry taken.
    """

    services: Services
    walk: Walk
    meter: Meter
    positions: dict[str, Position]
    rows: dict[str, list[IndexEntry]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    last: dict[str, IndexEntry] = field(default_factory=dict)

    def next(self, count: int) -> list[tuple[str, IndexEntry]]:
        """Return the next entries over all partitions; fewer if reading on would exceed the budget."""
        taken: list[tuple[str, IndexEntry]] = []
        while len(taken) < count and self._filled():
            for key, entry in self._merged(count - len(taken)):
                taken.append((key, entry))
                self.last[key] = entry
                self.rows[key].pop(0)
                if not self.rows[key] and key not in self.ended:
                    break  # the partition's next entries, not read yet, may come before those of others
            else:
                break
        return taken

    def _merged(self, count: int) -> Iterator[tuple[str, IndexEntry]]:
        streams = [[(key, entry) for entry in rows[:count]] for key, rows in self.rows.items()]
        newest = self.walk.newest_first
        merged = list(heapq.merge(*streams, key=lambda row: row[1].at, reverse=newest))
        return iter(merged[:count])

    def _filled(self) -> bool:
        """Read the next entries of partitions that have none left; ``False`` if the budget forbids it or no entry is
        left.
        """
        wanting = [key for key in self.positions if not self.rows.get(key) and key not in self.ended]
        if not wanting:
            return any(self.rows.values())
        if not self.meter.room(len(wanting), len(wanting)):
            return False
        pages = self.services.together([self._reader(key) for key in wanting])
        for key, page in zip(wanting, pages, strict=True):
            self.rows[key] = page
            if len(page) < ENTRIES:
                self.ended.add(key)
        return any(self.rows.values())

    def _reader(self, key: str) -> Callable[[], list[IndexEntry]]:
        walk, table = self.walk, self.services.repo.table
        return lambda: table.entries(
            key,
            limit=ENTRIES,
            newest_first=walk.newest_first,
            after=self.positions[key].entry,
            since=walk.since,
            up_to=walk.up_to,
        )

    def passed(self, key: str, entry: IndexEntry) -> None:
        """Record that an entry was used."""
        self.positions[key] = Position(entry)

    def cursor(self) -> str | None:
        """Return the cursor after the entries used; ``None`` if none are left."""
        for key in self.ended:
            if not self.rows[key] and self.last.get(key) in (None, self.positions[key].entry):
                self.positions[key] = Position(self.positions[key].entry, done=True)
        done = all(position.done for position in self.positions.values())
        return None if done else encode_cursor(self.positions, self.walk.scope)


def find(services: Services, walk: Walk, meter: Meter) -> Found:
    """Read one page of a list.

    Raises
    ------
    InvalidInput
        The cursor belongs to another list.
    """
    positions = decode_cursor(walk.cursor, walk.scope, list(walk.partitions))
    streams = _Streams(services, walk, meter, positions)
    streams.ended |= {key for key, position in positions.items() if position.done}
    streams.rows.update({key: [] for key in streams.ended})
    jobs: list[Job] = []
    unreadable: list[str] = []
    times: list[int] = []
    while len(jobs) < walk.limit:
        taken = streams.next(_batch_size(walk, len(times), len(jobs), meter))
        rows = taken[: _affordable(meter)]  # reading the index has used some of the budget
        if not rows:
            break
        found = services.repo.table.get_many([entry.job_id for _, entry in rows])
        unreadable += found.unreadable
        for key, entry in rows:
            if len(jobs) >= walk.limit:
                break  # read but not used: it starts the next page
            streams.passed(key, entry)
            times.append(entry.at)
            job = found.get(entry.job_id)
            if job is not None and walk.keep(job):
                jobs.append(job)
        if len(rows) < len(taken):
            break
    cursor = streams.cursor()
    stopped = f"Stopped after {len(times)} jobs; continue, or narrow the filter."
    notes = [stopped] if cursor and len(jobs) < walk.limit else []
    if unreadable:
        notes.append(f"Unreadable, written by another version or by hand: {', '.join(unreadable)}.")
    span = (min(times), max(times)) if times else None
    return Found(tuple(jobs), cursor, len(times), " ".join(notes), span)


def _batch_size(walk: Walk, looked_at: int, kept: int, meter: Meter) -> int:
    """Return how many items to read next, from the share of items that matched so far."""
    missing = walk.limit - kept
    likely = missing * looked_at // max(1, kept) if looked_at else missing
    return max(0, min(BATCH, _affordable(meter), walk.looked_at - looked_at, max(missing, likely)))


def _affordable(meter: Meter) -> int:
    """Return how many items fit the budget, if all of them had the largest possible size."""
    return int((meter.budget.read_units - meter.read_units) // HEAVIEST) if meter.room() else 0
