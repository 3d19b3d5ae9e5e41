"""What recovery knows of the fleet table: the workers that died, and where the last pass stopped.

One Scan per pass brings both. A scan is right here: the table holds one small record per living worker and few others,
so a fleet of a thousand workers is some 50 read units. It is a consistent one: by an old heartbeat a worker that is
just back would look dead, and the jobs that it has claimed since like orphans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self, TypeVar

from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.storage.resilience import condition_failed, persistently
from jobclaim.recovery.cursor import Cursor
from jobclaim.recovery.decide import DeadWorker

T = TypeVar("T")

CURSOR_KEY: Final = "#recovery"
"""Key of the cursor's record; no worker's name starts with '#'."""
CURSOR: Final = "cursor"


@dataclass(frozen=True, slots=True)
class FleetView:
    """The fleet as one pass sees it.

    Attributes
    ----------
    at : int
        When one looked, epoch milliseconds: all workers that had died by then are in ``dead``.
    dead : mapping of str to DeadWorker
        By worker id.
    vouched : frozenset of str
        Tokens of the claims that living workers vouch for.
    cursor : Cursor
    known : bool
        ``False`` where the fleet table could not be read: nothing may be concluded, nothing is written back.
    """

    at: int
    dead: Mapping[str, DeadWorker] = field(default_factory=dict)
    vouched: frozenset[str] = frozenset()
    cursor: Cursor = field(default_factory=Cursor)
    known: bool = True


class Fleet(Protocol):
    """What a pass needs of the fleet table."""

    def read(self) -> FleetView:
        """Give the dead workers and the cursor."""

    def save(self, cursor: Cursor) -> None:
        """Store the cursor for the next pass."""

    def remove(self, worker: DeadWorker) -> bool:
        """Remove a dead worker's record unless it was seen since; tell whether it is gone."""


class FleetTable:
    """The fleet table in DynamoDB.

    Parameters
    ----------
    client : callable
        Gives a boto3 DynamoDB client, this process's own.
    dead_after_seconds : int
        Silence after which a worker counts as dead.
    """

    def __init__(
        self,
        client: Callable[[], Any],
        name: str,
        *,
        dead_after_seconds: int,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self.name = name
        self._client = client
        self._dead_after_ms = dead_after_seconds * 1000
        self._clock = clock
        self._sleep = sleep

    @classmethod
    def of(cls, repo: JobRepo) -> Self:
        """Give the fleet table that the repo's settings name, through the repo's own client."""
        return cls(
            repo.table.client,
            repo.settings.fleet_table,
            dead_after_seconds=repo.settings.worker_dead_after_seconds,
            clock=repo.clock,
            sleep=repo.table.sleep,
        )

    def read(self) -> FleetView:
        """Scan the table.

        Raises
        ------
        StoreUnavailable
            Also where the table does not exist.
        """
        dead: dict[str, DeadWorker] = {}
        vouched: set[str] = set()
        cursor = Cursor()
        now = self._clock()
        for item in self._items():
            if item[schema.FLEET_KEY] == CURSOR_KEY:
                cursor = Cursor.decode(str(item.get(CURSOR, "")))
            else:
                worker = _worker(item, self._dead_after_ms)
                if worker is not None and worker.dead_at <= now:
                    dead[worker.worker_id] = worker
                elif worker is not None:
                    vouched |= _names(item.get("claims"))
        return FleetView(now, dead, frozenset(vouched), cursor)

    def save(self, cursor: Cursor) -> None:
        """Put the cursor. Without a condition: whichever of two passes wrote last, what it says is true."""
        item = {schema.FLEET_KEY: attribute(CURSOR_KEY), CURSOR: attribute(cursor.encode())}
        self._ask(lambda: self._client().put_item(TableName=self.name, Item=item))

    def remove(self, worker: DeadWorker) -> bool:
        """Delete the record on exactly the heartbeat that was read."""
        from botocore.exceptions import ClientError

        request = {
            "TableName": self.name,
            "Key": {schema.FLEET_KEY: attribute(worker.worker_id)},
            "ConditionExpression": "seen_at = :seen_at",
            "ExpressionAttributeValues": {":seen_at": attribute(worker.seen_at)},
        }
        try:
            self._ask(lambda: self._client().delete_item(**request))
        except ClientError as error:
            if not condition_failed(error):
                raise
            return False
        return True

    def _items(self) -> Iterator[dict[str, Any]]:
        from boto3.dynamodb.types import TypeDeserializer

        read = TypeDeserializer().deserialize
        request: dict[str, Any] = {"TableName": self.name, "ConsistentRead": True}
        while True:
            answer = self._ask(lambda: self._client().scan(**request))
            for item in answer["Items"]:
                yield {name: read(value) for name, value in item.items()}
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _ask(self, request: Callable[[], T]) -> T:
        return persistently(request, clock=self._clock, sleep=self._sleep)


def _worker(item: Mapping[str, Any], dead_after_ms: int) -> DeadWorker | None:
    """Read a worker's record; other records of the table have no heartbeat."""
    try:
        seen_at = int(item["seen_at"])
    except (KeyError, TypeError, ValueError):
        return None
    commands = item.get("commands")
    known = commands if isinstance(commands, Mapping) else {}
    cancelled = frozenset(str(job_id) for job_id, command in known.items() if command == "cancel")
    return DeadWorker(
        worker_id=str(item[schema.FLEET_KEY]),
        seen_at=seen_at,
        dead_at=seen_at + dead_after_ms,
        queues=tuple(sorted(_names(item.get("queues")))),
        job_ids=tuple(sorted(_names(item.get("jobs")) | cancelled)),
        cancelled=cancelled,
    )


def _names(several: Any) -> set[str]:
    """Read a list or a set of names; anything else names nothing, so that one odd record cannot end every pass."""
    return {str(name) for name in several} if isinstance(several, (list, tuple, set, frozenset)) else set()
