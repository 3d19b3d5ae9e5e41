"""Statistics of runs: how each attempt ended, how long it waited and ran, added up by task and hour.

::

    the end of an attempt is written ──▶ memory ──every five minutes, and when the process ends──▶ an item of the job
                                                                                                   table
    key         one per task and day, and one per day for all tasks together, without the durations
    attributes  h07c = 12        in the hour from 07:00 UTC, 12 runs completed; the letters are those of `Code`
                h07d15 = 3       3 of them took as long as bucket 15 of `jobclaim.jobs.protocol.histogram` says
                h07w2 = 9        9 runs had waited as long as bucket 2 says

A run costs no request of its own. At the end of its day an item has 2 to 6 KB, since the durations of a task fall into
few buckets, and never more than 25 KB; it expires after 35 days. A killed process loses what it has not written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import Any, Final, Self, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.errors import StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job
from jobclaim.jobs.protocol.histogram import LAST, bucket_of
from jobclaim.jobs.storage.counters import with_timeout
from jobclaim.jobs.storage.note_keys import SEPARATOR, Kind, key
from jobclaim.jobs.storage.pending import LAST_SECONDS, Pending
from jobclaim.jobs.storage.records import HasTable, Records
from jobclaim.jobs.storage.resilience import STALE
from jobclaim.jobs.transitions import Move

log = get_logger("jobclaim.jobs")

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
FLUSH_SECONDS: Final = 300.0
"""From the first run that is not written yet to the write."""
KEPT_DAYS: Final = 35
MOST_TASKS: Final = 100
"""Tasks that one process writes items of at a time; the runs of others are counted as `OTHERS`."""
MOST_ATTRIBUTES: Final = 100
"""Of one request: an expression has 4 KB at most (AWS, "Expressions")."""
ALL: Final = ""
OTHERS: Final = "(others)"


class Code(StrEnum):
    """What is counted in an hour."""

    COMPLETED = "c"
    FAILED = "f"
    """Runs that ended their job as FAILED, and jobs that were given up because no worker ran them."""
    RETRIED = "r"
    """Runs that failed and are followed by another attempt."""
    CANCELLED = "x"
    RETRY_COMPLETED = "s"
    """Of the completed ones, those whose job had failed before."""
    RETRY_FAILED = "t"
    HEALED = "g"
    """Of the completed ones, those by which recovery retried a dead letter."""
    FAILED_AGAIN = "b"
    DURATION = "d"
    WAIT = "w"


ENDS: Final[Mapping[Move, tuple[Code, Code | None, Code | None]]] = {
    **dict.fromkeys((Move.COMPLETE, Move.COMPLETE_WITH_EFFECTS), (Code.COMPLETED, Code.RETRY_COMPLETED, Code.HEALED)),
    **dict.fromkeys((Move.FAIL, Move.ORPHAN_FAIL, Move.GIVE_UP), (Code.FAILED, Code.RETRY_FAILED, Code.FAILED_AGAIN)),
    **dict.fromkeys((Move.RETRY, Move.ORPHAN_RETRY), (Code.RETRIED, None, None)),
    **dict.fromkeys((Move.STOP, Move.ORPHAN_STOP), (Code.CANCELLED, None, None)),
}
"""The moves that end a run: as what it counts, and as what too if its job was retried, or was a dead letter. A release,
a snooze or a wait ends no run: the job goes on."""
Run: TypeAlias = tuple[int, str, str]
"""The hour since the epoch, the task, and what is counted."""
_DURATIONS: Final = tuple(f"{Code.DURATION}{number}" for number in range(LAST + 1))
_OUTCOMES: Final = frozenset(Code) - {Code.DURATION, Code.WAIT}
_WAITS: Final = tuple(f"{Code.WAIT}{number}" for number in range(LAST + 1))


class Statistics(Records):
    """Counts runs in memory and writes them; thread-safe. What cannot be written is dropped.

    The first of several failures is logged.
    """

    def __init__(self, client: Callable[[], Any], table: str, *, clock: Clock, sleep: Callable[[float], None]) -> None:
        super().__init__(client, table, clock=clock, sleep=sleep)
        self._failing = False
        self._pending = Pending(self._write_pending, every=FLUSH_SECONDS, clock=clock)

    @classmethod
    def of(cls, repo: HasTable) -> Self:
        """Return the statistics of a repo's table, using the repo's own client."""
        return cls(repo.table.client, repo.table.name, clock=repo.clock, sleep=repo.table.sleep)

    def moved(self, move: Move, before: Job, after: Job) -> None:
        """Count the end of a run; moves that do not end a run are ignored."""
        if counted := self.counted(move, before, after):
            self.add(counted)

    def counted(self, move: Move, before: Job, after: Job) -> dict[Run, int]:
        """Return what a move adds; nothing for one that does not end a run."""
        if (codes := ENDS.get(move)) is None:
            return {}
        hour, task = self._clock() // HOUR_MS, before.task
        code, retried, dead = codes
        counted = {(hour, task, code.value): 1}  # `.value` because a member's own hash is slower
        if dead is not None and before.dead_retries:
            counted[hour, task, dead.value] = 1
        if retried is not None and (before.charged > 1 or before.dead_retries):
            counted[hour, task, retried.value] = 1
        if before.claimed_at:
            counted[hour, task, _WAITS[bucket_of(before.wait_ms)]] = 1
        if code is Code.COMPLETED:
            counted[hour, task, _DURATIONS[bucket_of(after.finished_at - before.claimed_at)]] = 1
        return counted

    def add(self, counted: Mapping[Run, int]) -> None:
        """Add what `counted` returned, maybe in another process."""
        self._pending.add(counted)

    def flush(self, *, last: bool = False) -> None:
        """Write the pending runs; ``last`` makes one short try, for a process that is about to end."""
        self._pending.flush(last=last)

    def _write_pending(self, numbers: Counter[Any], last: bool) -> bool:
        try:
            for request in requests(numbers, self._table):
                if last:
                    with_timeout(self._client(), LAST_SECONDS).update_item(**request)
                else:
                    self._ask(lambda request=request: self._client().update_item(**request))  # type: ignore[misc]
        except (StoreUnavailable, ClientError, BotoCoreError, *STALE) as error:
            if not last and not self._failing:
                log.warning("statistics.not_written", reason=str(error))
            self._failing = True
            return False
        self._failing = False
        return True


def requests(numbers: Mapping[Run, int], table: str) -> Iterator[dict[str, Any]]:
    """Build the requests that add numbers, by hour since the epoch, task and code."""
    runs: Counter[str] = Counter()
    for (_, task, name), number in numbers.items():
        if name in _OUTCOMES:
            runs[task] += number
    kept = {task for task, _ in runs.most_common(MOST_TASKS)}
    items: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for (hour, task, name), number in numbers.items():
        day, at = divmod(hour, 24)
        items[day, task if task in kept else OTHERS][f"h{at:02}{name}"] += number
        if name in _OUTCOMES:
            items[day, ALL][f"h{at:02}{name}"] += number
    for (day, task), counted in items.items():
        rest = iter(sorted(counted.items()))
        while part := dict(islice(rest, MOST_ATTRIBUTES)):
            yield _addition(table, day, task, part)


def _addition(table: str, day: int, task: str, counted: Mapping[str, int]) -> dict[str, Any]:
    return {
        "TableName": table,
        "Key": key_of(day, task),
        "UpdateExpression": "SET #ttl = :ttl, #hash = :hash, #range = :day ADD "
        + ", ".join(f"{name} :{name}" for name in counted),
        "ExpressionAttributeNames": {
            "#ttl": schema.TTL,
            "#hash": schema.INDEX_HASH,
            "#range": schema.INDEX_RANGE,
        },
        "ExpressionAttributeValues": {
            ":ttl": attribute((day + 1 + KEPT_DAYS) * DAY_MS // 1000),
            ":hash": attribute(schema.RUNS),
            ":day": attribute(day * DAY_MS),
            **{f":{name}": attribute(number) for name, number in counted.items()},
        },
    }


def key_of(day: int, task: str) -> Item:
    """Return the key of a task's runs on a day, counted from the epoch in UTC."""
    return key(Kind.RUNS, f"{datetime.fromtimestamp(day * DAY_MS / 1000, UTC):%Y-%m-%d}{SEPARATOR}{task}")


def task_of(item_key: str) -> str:
    """Return the task whose runs an item has; empty for all tasks together."""
    return item_key.split(SEPARATOR, 2)[2]
