"""`Effects`: writes that a body, or a block, makes together with the write of its job."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Self

from jobclaim.jobs.effects.items import ItemsOfTable
from jobclaim.jobs.effects.write import NEEDED, Write, make
from jobclaim.jobs.errors import InvalidEffect

MOST_WRITES: Final = 99
"""TransactWriteItems takes 100 operations; one of them is the job's own."""
MOST_BYTES: Final = 4 * 1024 * 1024
"""Maximum bytes of all items of a transaction together (AWS, "TransactWriteItems")."""


class Effects:
    """Collects writes in DynamoDB's own terms; thread-safe. Nothing is sent before the job's own write.

    Values are plain Python, as with boto3's resources, or typed, as with its clients; one call uses one form.

    ::

        self.effects.put(TableName="orders", Item={"order_id": "7", "total": Decimal("9.50")})
        self.effects.update(TableName="stock", Key={"sku": "A1"}, UpdateExpression="ADD units :n",
                            ConditionExpression="units >= :least", ExpressionAttributeValues={":n": -1, ":least": 1})

    Parameters
    ----------
    refused_tables : collection of str
        jobclaim's own tables.
    room : int
        Maximum number of writes.
    name : str
        The caller's name for it, used in errors.
    """

    def __init__(self, refused_tables: Collection[str] = (), *, room: int = MOST_WRITES, name: str = "effects") -> None:
        self._name = name
        self._refused_tables = frozenset(refused_tables)
        self._room = room
        self._writes: list[Write] = []
        self._items: dict[str, ItemsOfTable] = {}
        self._octets = 0
        self._is_sealed = False
        self._lock = threading.Lock()

    # --- collecting
    def put(self, **request: Any) -> None:
        """Put an item: ``TableName``, ``Item``, and optionally ``ConditionExpression`` with its names and values.

        Raises
        ------
        InvalidEffect
            DynamoDB could not make the write, or not in one transaction with the others. Applies to all methods here.
        """
        self._add("Put", request)

    def update(self, **request: Any) -> None:
        """Update an item: ``TableName``, ``Key``, ``UpdateExpression``, and optionally a condition."""
        self._add("Update", request)

    def delete(self, **request: Any) -> None:
        """Delete an item: ``TableName``, ``Key``, and optionally a condition."""
        self._add("Delete", request)

    def check(self, **request: Any) -> None:
        """Require a condition on an item that is not written: ``TableName``, ``Key``, ``ConditionExpression``."""
        self._add("ConditionCheck", request)

    def extend(self, items: Iterable[Any]) -> None:
        """Add writes in the form of TransactWriteItems: ``{"Put": {"TableName": ..., "Item": ...}}``."""
        for item in items:
            if not (isinstance(item, Mapping) and len(item) == 1 and next(iter(item)) in NEEDED):
                raise InvalidEffect(
                    f"an effect is a map of one operation to its request, {{'Put': {{...}}}}, not {item!r:.100}; the "
                    f"operations are {', '.join(NEEDED)}"
                )
            ((operation, request),) = item.items()
            self._add(operation, request)

    def __len__(self) -> int:
        return len(self._writes)

    # --- for the write of the job
    @classmethod
    def of(cls, effects: Effects | Iterable[Any], refused_tables: Collection[str]) -> Self | Effects:
        """Return as `Effects` what a caller passed as effects."""
        if isinstance(effects, Effects):
            return effects
        made = cls(refused_tables)
        made.extend(effects)
        return made

    def seal(self) -> tuple[Write, ...]:
        """Return all writes and accept no more, because the job's own write is in progress with these."""
        with self._lock:
            self._is_sealed = True
            return tuple(self._writes)

    def reopen(self) -> None:
        """Accept writes again after the job's own write was refused."""
        with self._lock:
            self._is_sealed = False

    def reserve(self) -> None:
        """Reserve one more operation for jobclaim itself. Raises `InvalidEffect`."""
        with self._lock:
            if len(self._writes) >= self._room or self._is_sealed:
                raise InvalidEffect(
                    f"{self._name}: the job does not fit: the transaction has {MOST_WRITES + 1} operations, which is "
                    "the maximum, or its block has ended; submit the job in another transaction"
                )
            self._room -= 1

    def refuse_tables(self, tables: Collection[str]) -> None:
        """Refuse collected writes to tables that turned out to be jobclaim's own."""
        for write in self._writes:
            write.refuse_table(tables)

    # --- helpers
    def _add(self, operation: str, request: Mapping[str, Any]) -> None:
        write = make(operation, request, self._refused_tables, self._name)
        with self._lock:
            if self._is_sealed:
                raise InvalidEffect(
                    f"{write.what} was added too late: the transaction has been sent already; add every write before "
                    "the body or block ends, and wait there for threads that add writes"
                )
            self._check_room(write)
            self._items.setdefault(write.table_name, ItemsOfTable()).add(write)
            self._writes.append(write)
            self._octets += write.octets

    def _check_room(self, write: Write) -> None:
        if len(self._writes) >= self._room:
            raise InvalidEffect(
                f"{write.what} is write {len(self._writes) + 1}; a transaction takes {self._room} beside jobclaim's "
                "own; split the work into several jobs"
            )
        if (octets := self._octets + write.octets) > MOST_BYTES:
            raise InvalidEffect(
                f"{write.what} makes the transaction {octets:,} bytes long, and DynamoDB takes {MOST_BYTES:,}; split "
                "the work into several jobs, or store the large part elsewhere (S3) and write a reference"
            )
