"""Recovery's view of the fleet table: the lost workers, and where the last pass stopped.

One consistent scan per pass reads both: with a stale heartbeat a worker that has just returned would look lost, and the
jobs that it has claimed since would look like orphans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from jobclaim.fleet.workers import CANCEL, FleetRecords, WorkerRecord, workers_in
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.storage.pauses import Pauses, pauses_in
from jobclaim.jobs.storage.records import HasTable
from jobclaim.recovery.cursor import Cursor
from jobclaim.recovery.decide import LostWorker

CURSOR_KEY: Final = "#recovery"
CURSOR: Final = "cursor"


@dataclass(frozen=True, slots=True)
class FleetView:
    """The fleet as one pass sees it.

    Attributes
    ----------
    at : int
        When it was read, epoch milliseconds: all workers that were lost by then are in ``dead``.
    dead : mapping of str to LostWorker
        The lost workers, by id.
    vouched : frozenset of str
        Tokens of the claims that live workers vouch for.
    cursor : Cursor
    pauses : Pauses
    known : bool
        ``False`` if the fleet table could not be read: nothing may be concluded, and nothing is written back.
    """

    at: int
    dead: Mapping[str, LostWorker] = field(default_factory=dict)
    vouched: frozenset[str] = frozenset()
    cursor: Cursor = field(default_factory=Cursor)
    pauses: Pauses = field(default_factory=Pauses)
    known: bool = True


class RecoveryFleet(FleetRecords):
    """The fleet table as recovery reads and writes it; all methods raise `StoreUnavailable`.

    Parameters
    ----------
    dead_after_seconds : int
        Silence after which a worker counts as lost.
    """

    def __init__(self, *args: Any, dead_after_seconds: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dead_after_ms = dead_after_seconds * 1000

    @classmethod
    def of(cls, repo: HasTable) -> Self:
        """Create the view of the fleet table in the repo's settings, with the repo's own client."""
        return cls(
            repo.table.client,
            repo.settings.fleet_table,
            clock=repo.clock,
            sleep=repo.table.sleep,
            dead_after_seconds=repo.settings.worker_dead_after_seconds,
        )

    def read(self) -> FleetView:
        """Read the whole table; also raises if it does not exist."""
        now = self._clock()
        items = [item for page, _ in self.pages(consistent=True) for item in page]
        dead: dict[str, LostWorker] = {}
        vouched: set[str] = set()
        for record in workers_in(items):
            worker = self._lost(record)
            if worker.lost_at <= now:
                dead[worker.worker_id] = worker
            else:
                vouched.update(record.claims or ())
        return FleetView(now, dead, frozenset(vouched), _cursor(items).believed(now), pauses_in(items))

    def save(self, cursor: Cursor) -> None:
        """Store the cursor, without a condition: whichever of two passes wrote last, its cursor is valid."""
        item = {schema.FLEET_KEY: attribute(CURSOR_KEY), CURSOR: attribute(cursor.encode())}
        self._ask(lambda: self._client().put_item(TableName=self._table, Item=item))

    def _lost(self, record: WorkerRecord) -> LostWorker:
        cancelled = frozenset(job_id for job_id, command in record.commands.items() if command == CANCEL)
        return LostWorker(
            worker_id=record.worker_id,
            seen_at=record.seen_at,
            lost_at=record.seen_at + self._dead_after_ms,
            queues=tuple(sorted(record.queues)),
            job_ids=tuple(sorted({*record.jobs, *cancelled})),
            cancelled=cancelled,
        )


def _cursor(items: Iterable[Item]) -> Cursor:
    for item in items:
        if item[schema.FLEET_KEY]["S"] == CURSOR_KEY:
            return Cursor.decode(str(item.get(CURSOR, {}).get("S", "")))
    return Cursor()
