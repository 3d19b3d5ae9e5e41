"""A job table of any size that takes no memory: its jobs are generated on access.

A crowd is many jobs that differ in their time alone. An entry's position in the index is computed, so a page of a
hundred million entries costs as much as a page of a thousand. Writes are stored.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from bench.stub_aws.tables import PAGE_BYTES, READ_UNIT, Table, size, write_units
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import Job
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute, place, to_attributes
from jobclaim.settings import Settings

Item = dict[str, Any]
Entry = tuple[int, str, str]
"""Time, job id and index partition."""

LATENCY_MS: Final = {
    "query": 6,
    "batch_get_item": 12,
    "get_item": 6,
    "update_item": 6,
    "put_item": 6,
    "delete_item": 6,
    "scan": 20,
    "send": 10,
}
"""Assumed duration of a request, milliseconds: single digits for DynamoDB, somewhat more for a batch and SQS."""


class Clock:
    """A clock that only requests advance, epoch milliseconds."""

    def __init__(self) -> None:
        self.now = 1_750_000_000_000

    def __call__(self) -> int:
        """Read it."""
        return self.now


@dataclass(frozen=True, slots=True)
class Crowd:
    """Jobs evenly spread over time and over the shards of one kind of index partition.

    Attributes
    ----------
    partition : callable
        Returns the partition of a shard.
    first_at : int
        Time of the first entry, epoch milliseconds.
    spacing_ms : float
        Between two jobs of the crowd, over all shards; above 0.
    make : callable
        Generates a job from its id, its number and its entry's time.
    """

    name: str
    partition: Callable[[int], str]
    count: int
    first_at: int
    spacing_ms: float
    make: Callable[[str, int, int], Job]

    def at(self, number: int) -> int:
        """Return the time of a job."""
        return self.first_at + int(number * self.spacing_ms)

    def job(self, number: int) -> Job:
        """Generate a job."""
        return self.make(f"{self.name}-{number:012d}", number, self.at(number))

    def entries(self, shard: int, shards: int, since: tuple[int, str]) -> Iterator[Entry]:
        """Return the entries of a shard after a position, oldest first."""
        first = max(0, math.floor((since[0] - self.first_at) / self.spacing_ms))
        first += (shard - first) % shards
        partition = self.partition(shard)
        for number in range(first, self.count, shards):
            entry = (self.at(number), f"{self.name}-{number:012d}")
            if entry > since:
                yield (*entry, partition)


@dataclass
class Asked:
    """Requests to AWS by name, and units."""

    requests: Counter[str] = field(default_factory=Counter)
    read_units: float = 0.0
    write_units: int = 0


class CrowdedTable:
    """A DynamoDB client on a job table full of crowds, and on a fleet table full of live workers."""

    def __init__(self, settings: Settings, clock: Clock, crowds: list[Crowd], workers: list[WorkerRecord]) -> None:
        self.asked = Asked()
        self._settings = settings
        self._clock = clock
        self._crowds = {crowd.name: crowd for crowd in crowds}
        self._partitions: dict[str, tuple[int, list[Crowd]]] = {}
        for crowd in crowds:
            for shard in range(settings.index_shards):
                self._partitions.setdefault(crowd.partition(shard), (shard, []))[1].append(crowd)
        self._written = Table({"KeySchema": [{"AttributeName": schema.KEY}]})
        self._fleet = Table({"KeySchema": [{"AttributeName": schema.FLEET_KEY}]})
        records = FleetRecords(lambda: self, settings.fleet_table, clock=clock, sleep=lambda _: None)
        for record in workers:
            records.beat(record)

    def count(self, operation: str) -> None:
        """Count a request, and advance the clock by its duration."""
        self.asked.requests[operation] += 1
        self._clock.now += LATENCY_MS[operation]

    # --- requests, named and shaped as boto3's
    def query(self, **request: Any) -> Item:
        """Read a page of an index partition."""
        self.count("query")
        values = request["ExpressionAttributeValues"]
        partition, limit = values[":key"]["S"], request["Limit"]
        since = (int(values[":since"]["N"]) if ":since" in values else 0, "")
        start = request.get("ExclusiveStartKey")
        if start is not None:
            since = max(since, (int(start[schema.INDEX_RANGE]["N"]), start[schema.KEY]["S"]))
        page = [_index_item(entry) for entry in islice(self._entries(partition, since, _until(values)), limit)]
        self.asked.read_units += _halves(sum(map(size, page)))
        return {"Items": page, **({"LastEvaluatedKey": page[-1]} if len(page) == limit else {})}

    def batch_get_item(self, **request: Any) -> Item:
        """Read jobs, eventually consistent."""
        self.count("batch_get_item")
        ((name, asked),) = request["RequestItems"].items()
        items = [self._item(key[schema.KEY]["S"]) for key in asked["Keys"]]
        self.asked.read_units += sum(_halves(size(item)) for item in items)
        return {"Responses": {name: items}, "UnprocessedKeys": {}}

    def get_item(self, **request: Any) -> Item:
        """Read a job, consistently."""
        self.count("get_item")
        item = self._item(request["Key"][schema.KEY]["S"])
        self.asked.read_units += 2 * _halves(size(item))
        return {"Item": item}

    def update_item(self, **request: Any) -> Item:
        """Change a job, or a worker's record, on its condition."""
        self.count("update_item")
        if request["TableName"] == self._settings.fleet_table:
            return {"Attributes": self._update(self._fleet, self._fleet.key_of(request["Key"]), request)}
        job_id = request["Key"][schema.KEY]["S"]
        old = self._written.items[(job_id,)] = self._item(job_id)
        before, after = _place(old), _place(self._update(self._written, (job_id,), request))
        self.asked.write_units += (bool(before) + bool(after)) * (before != after)
        return {}

    def scan(self, **request: Any) -> Item:
        """Read the fleet table, consistently, a megabyte at a time."""
        self.count("scan")
        names = sorted(self._fleet.items)
        start = request.get("ExclusiveStartKey")
        if start is not None:
            names = names[names.index(self._fleet.key_of(start)) + 1 :]
        page: list[Item] = []
        octets = 0
        while names and octets < PAGE_BYTES:
            page.append(self._fleet.items[names.pop(0)])
            octets += size(page[-1])
        self.asked.read_units += 2 * _halves(octets)
        return {"Items": page, **({"LastEvaluatedKey": page[-1]} if names else {})}

    def put_item(self, **request: Any) -> Item:
        """Store the cursor."""
        self.count("put_item")
        item = request["Item"]
        self._fleet.items[self._fleet.key_of(item)] = item
        self.asked.write_units += write_units(size(item))
        return {}

    def delete_item(self, **request: Any) -> Item:
        """Remove a worker's record."""
        self.count("delete_item")
        gone = self._fleet.items.pop(self._fleet.key_of(request["Key"]))
        self.asked.write_units += write_units(size(gone))
        return {}

    # --- helpers
    def _update(self, table: Table, key: tuple[Any, ...], request: Item) -> Item:
        old, new = table.items.get(key), table.updated(request, key)
        table.items[key] = new
        self.asked.write_units += write_units(max(size(old), size(new)))
        return new

    def _entries(self, partition: str, since: tuple[int, str], until: float) -> Iterator[Entry]:
        shard, crowds = self._partitions.get(partition, (0, []))
        streams = [crowd.entries(shard, self._settings.index_shards, since) for crowd in crowds]
        for entry in heapq.merge(*streams):
            if entry[0] > until:
                return
            moved = self._written.items.get((entry[1],))
            if moved is None or _place(moved) == (partition, str(entry[0])):
                yield entry

    def _item(self, job_id: str) -> Item:
        known = self._written.items.get((job_id,))
        if known is not None:
            return known
        name, _, number = job_id.rpartition("-")
        job, settings = self._crowds[name].job(int(number)), self._settings
        stored = to_attributes(job) | place(job, shards=settings.index_shards, index_completed=settings.index_completed)
        return {name: attribute(value) for name, value in stored.items()}


def _until(values: Item) -> float:
    return int(values[":up_to"]["N"]) if ":up_to" in values else math.inf


def _index_item(entry: Entry) -> Item:
    at, job_id, partition = entry
    return {
        schema.KEY: attribute(job_id),
        schema.INDEX_HASH: attribute(partition),
        schema.INDEX_RANGE: attribute(at),
    }


def _place(item: Item) -> tuple[Any, ...]:
    names = ((schema.INDEX_HASH, "S"), (schema.INDEX_RANGE, "N"))
    return tuple(item[name][kind] for name, kind in names if name in item)


def _halves(octets: int) -> float:
    """Return the read units of an eventually consistent read."""
    return max(1, math.ceil(octets / READ_UNIT)) * 0.5
