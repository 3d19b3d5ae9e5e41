"""Pages of jobs by state: the index's shards are read side by side and merged, with a cursor that continues each."""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.errors import InvalidInput
from jobclaim.jobs.model import Job, JobStatus, Page
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.jobs.storage.table import JobTable

ROUNDS: Final = 10
"""Index pages per shard and call: a filter with few matches gives a short page and a cursor instead of a long wait."""

SEARCHED: Final = 100
SEARCH_ROUNDS: Final = 20
"""A search looks through at most 2,000 jobs per page: at most 20 index pages per shard, and 20 batches of items."""
SEAL_BYTES: Final = 8
LATEST: Final = 10**15
"""Latest time of an index entry, epoch milliseconds: the year 33658."""
KEY_BYTES: Final = 2048
"""Longest partition key (AWS, "Quotas in Amazon DynamoDB")."""


def state_keys(status: JobStatus, queues: list[str], shards: int) -> list[str]:
    """Return the partitions of the index that hold the jobs in a state."""
    if status.is_open:
        return [schema.open_key(queue, shard) for queue in queues for shard in range(shards)]
    keys = [schema.closed_key(status, shard) for shard in range(shards)]
    if status is JobStatus.FAILED:  # those that recovery starts again are listed by their retry time
        keys += [schema.retry_key(shard) for shard in range(shards)]
        keys += [schema.concluded_key(shard) for shard in range(shards)]
    return keys


@dataclass(frozen=True, slots=True)
class Position:
    """Where to continue in one partition; ``done`` when it is exhausted."""

    entry: IndexEntry | None = None
    done: bool = False


def list_page(
    table: JobTable,
    state_keys: list[str],
    *,
    scope: str,
    keep: Callable[[Job], bool],
    limit: int,
    newest_first: bool,
    cursor: str | None,
    searching: bool = False,
    since: int | None = None,
) -> Page:
    """Read the next page of the jobs in some partitions of the index, in the order of their times.

    Parameters
    ----------
    scope : str
        Describes the list; a cursor continues only the list that it came from.
    searching : bool
        Few jobs may fit: read `SEARCHED` at a time, at most `SEARCH_ROUNDS` times, instead of as many as are missing.
    since : int, optional
        Read no earlier entries of the index, epoch milliseconds.
    """
    positions = decode_cursor(cursor, scope, state_keys)
    jobs: list[Job] = []
    unreadable: list[str] = []
    times: list[int] = []
    for _ in range(SEARCH_ROUNDS if searching else ROUNDS):
        before, size = dict(positions), SEARCHED if searching else limit - len(jobs)
        rows = _merged(table, positions, size, newest_first, since)
        found = table.get_many([entry.job_id for _, entry in rows])
        unreadable += found.unreadable
        for used, (_, entry) in enumerate(rows, 1):
            times.append(entry.at)
            if (job := found.get(entry.job_id)) is not None and keep(job):
                jobs.append(job)
            if len(jobs) == limit and used < len(rows):
                positions |= _after(before, rows[:used])
                break
        if len(jobs) >= limit or all(position.done for position in positions.values()):
            break
    exhausted = all(position.done for position in positions.values())
    return Page(
        tuple(jobs),
        None if exhausted else encode_cursor(positions, scope),
        tuple(unreadable),
        len(times),
        (min(times), max(times)) if times else None,
    )


def _after(before: dict[str, Position], used: list[tuple[str, IndexEntry]]) -> dict[str, Position]:
    """Return the positions after the entries that were used; entries read beyond them start the next page."""
    return {**before, **{key: Position(entry) for key, entry in used}}


def _merged(
    table: JobTable, positions: dict[str, Position], limit: int, newest_first: bool, since: int | None
) -> list[tuple[str, IndexEntry]]:
    """Take the next ``limit`` entries over all partitions and move the positions past them."""
    bounds = {} if since is None else {"since": since, "up_to": LATEST}
    pages = {
        key: table.entries(key, limit=limit, newest_first=newest_first, after=position.entry, **bounds)
        for key, position in positions.items()
        if not position.done
    }
    streams: Iterable[list[tuple[str, IndexEntry]]] = [[(key, entry) for entry in page] for key, page in pages.items()]
    order = heapq.merge(*streams, key=lambda row: row[1].at, reverse=newest_first)
    taken = [row for row, _ in zip(order, range(limit), strict=False)]
    for key, page in pages.items():
        taken_here = [entry for row_key, entry in taken if row_key == key]
        last = taken_here[-1] if taken_here else positions[key].entry
        positions[key] = Position(last, done=len(page) < limit and len(taken_here) == len(page))
    return taken


def encode_cursor(positions: dict[str, Position], scope: str) -> str:
    """Encode where a list continues."""
    rows = {
        key: None if position.done else [position.entry.at, position.entry.job_id] if position.entry else []
        for key, position in positions.items()
    }
    body = json.dumps(rows, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_seal(body, scope) + body).decode()


def decode_cursor(cursor: str | None, scope: str, state_keys: list[str]) -> dict[str, Position]:
    """Decode where a list continues; without a cursor, its start. Raises `InvalidInput` for another list's cursor."""
    if cursor is None:
        return {key: Position() for key in state_keys}
    try:
        raw = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True)
        seal, body = raw[:SEAL_BYTES], raw[SEAL_BYTES:]
        if seal != _seal(body, scope):
            raise ValueError("it was altered, or belongs to another list")
        rows = json.loads(body)
        if rows.keys() != set(state_keys):
            raise ValueError("the queues or shards of this table have changed since")
        return {key: _position(row) for key, row in rows.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"cursor {str(cursor)[:40]!r} does not continue this list ({error}); pass the cursor of the previous page "
            "unchanged, with the same filters"
        ) from None


def _position(row: Any) -> Position:
    """Read a position. The seal does not prevent forgery, so values that DynamoDB would refuse are refused here."""
    if row is None:
        return Position(done=True)
    if row == []:
        return Position()
    at, key = row
    if type(at) is not int or not 0 <= at <= LATEST or type(key) is not str or not 0 < len(key.encode()) <= KEY_BYTES:
        raise ValueError("it does not mark a place in a list")
    return Position(IndexEntry(key, at))


def _seal(body: bytes, scope: str) -> bytes:
    """Return a digest that distinguishes cursors from other text; not a secret: a cursor reveals nothing hidden."""
    return hashlib.sha256(scope.encode() + b"\0" + body).digest()[:SEAL_BYTES]
