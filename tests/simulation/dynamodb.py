"""DynamoDB as its documentation promises it and no better: atomic conditional writes, reads and indexes that lag."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from tests.simulation.expressions import Item, condition, number, plain, unused, update

ITEM_LIMIT: Final = 400 * 1024
WRITE_UNIT: Final = 1024
EXPRESSIONS: Final = [f"{kind}Expression" for kind in ("Condition", "KeyCondition", "Update", "Projection", "Filter")]
BATCH_LIMIT: Final = 100
TRANSACTION_LIMIT: Final = 100
TOKEN_MS: Final = 600_000
KEY_BYTES: Final = 2048
Request = dict[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Write:
    """One applied write: what it replaced, what it left, and what it cost in table and index, write units."""

    table: str
    key: str
    old: Item | None
    new: Item | None
    table_units: int
    index_units: int


@dataclass(frozen=True, slots=True)
class Index:
    """The one index of a table; it projects keys only."""

    name: str
    hash: str
    range: str


class Database:
    """Tables with a string key, and at most one index.

    Parameters
    ----------
    now : callable
        Gives epoch milliseconds, the true time.
    lag : callable
        Gives the age, milliseconds, of what an eventually consistent read of one item, or of its index entry, shows.
    cut : callable
        Gives how many of so many rows, or keys of a batch, an answer holds: at least one.
    """

    def __init__(
        self,
        now: Callable[[], int],
        lag: Callable[[], int] = lambda: 0,
        cut: Callable[[int], int] = lambda wanted: wanted,
    ) -> None:
        self._now = now
        self._lag = lag
        self._cut = cut
        self._tables: dict[str, Table] = {}
        self._transactions = Transactions(self, now)
        self.units: Counter[str] = Counter()

    def make_table(self, name: str, key: str, index: Index | None = None) -> None:
        """Make an empty table."""
        self._tables[name] = Table(name, key, index)

    def drop_table(self, name: str) -> None:
        """Delete a table and all in it."""
        del self._tables[name]

    def items(self, table: str) -> dict[str, Item]:
        """Give all items as they are now."""
        return self._tables[table].items

    # --- requests, named and shaped as boto3's
    def put_item(self, request: Request) -> tuple[Answer, Write]:
        """Replace an item if the condition holds."""
        table = self._table(request)
        new = dict(request["Item"])
        key = table.key_of(new)
        old = self._checked(table, key, request)
        return {}, self._write(table, key, old, new)

    def update_item(self, request: Request) -> tuple[Answer, Write]:
        """Change an item, or make it, if the condition holds."""
        table = self._table(request)
        key = table.key_of(request["Key"])
        old = self._checked(table, key, request)
        before = old if old is not None else dict(request["Key"])
        new = dict(before)
        names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
        try:
            for assign in update(request["UpdateExpression"]):
                assign(before, new, names, values)
        except LookupError as error:
            raise refusal("ValidationException", str(error)) from None
        write = self._write(table, key, old, new)
        return ({"Attributes": new} if request.get("ReturnValues") == "ALL_NEW" else {}), write

    def delete_item(self, request: Request) -> tuple[Answer, Write]:
        """Delete an item if the condition holds."""
        table = self._table(request)
        key = table.key_of(request["Key"])
        old = self._checked(table, key, request)
        write = self._write(table, key, old, None)
        return ({"Attributes": old} if old and request.get("ReturnValues") == "ALL_OLD" else {}), write

    def transact_write_items(self, request: Request) -> tuple[Answer, list[Write]]:
        """Make all operations or none; a token that comes again within ten minutes makes none and is a success."""
        return self._transactions.make(request)

    def get_item(self, request: Request) -> tuple[Answer, None]:
        """Read an item."""
        table = self._table(request)
        item = self._seen(table, table.key_of(request["Key"]), bool(request.get("ConsistentRead")))
        return ({"Item": item} if item is not None else {}), None

    def batch_get_item(self, request: Request) -> tuple[Answer, None]:
        """Read up to a hundred items."""
        found: dict[str, list[Item]] = {}
        unread: dict[str, Any] = {}
        for name, asked in request["RequestItems"].items():
            table = self._tables[name]
            keys = [table.key_of(key) for key in asked["Keys"]]
            if len(keys) > BATCH_LIMIT or len(set(keys)) < len(keys):
                raise refusal("ValidationException", "too many keys, or one of them twice")
            read = self._cut(len(keys))
            items = [self._seen(table, key, bool(asked.get("ConsistentRead"))) for key in keys[:read]]
            found[name] = [item for item in items if item is not None]
            if read < len(keys):
                unread[name] = {**asked, "Keys": asked["Keys"][read:]}
        return {"Responses": found, "UnprocessedKeys": unread}, None

    def query(self, request: Request) -> tuple[Answer, None]:
        """Read a page of an index partition; each entry is as old as the index happens to be behind."""
        table = self._table(request)
        index = table.index
        if index is None or index.name != request["IndexName"]:
            raise refusal("ValidationException", f"the table does not have the index {request['IndexName']}")
        rows = sorted(self._rows(table, index, request), reverse=not request.get("ScanIndexForward", True))
        start = request.get("ExclusiveStartKey")
        if start is not None:
            named = (request.get("ExpressionAttributeNames", {}), request["ExpressionAttributeValues"])
            if not condition(request["KeyConditionExpression"])(start, *named):
                raise refusal("ValidationException", "The provided starting key is outside query boundaries")
            at = (number(start[index.range]["N"]), start[table.key]["S"])
            forward = request.get("ScanIndexForward", True)
            rows = [row for row in rows if (row[:2] > at if forward else row[:2] < at)]
        if request.get("Limit", 1) < 1:
            raise refusal("ValidationException", f"Limit {request['Limit']} must be at least 1")
        limit = min(request.get("Limit", len(rows) + 1), self._cut(len(rows) + 1))
        page = [
            {table.key: {"S": key}, index.hash: {"S": partition}, index.range: {"N": str(at)}}
            for at, key, partition in rows[:limit]
        ]
        more = {"LastEvaluatedKey": page[-1]} if len(page) == limit and page else {}
        return {"Items": page, "Count": len(page), **more}, None

    def scan(self, request: Request) -> tuple[Answer, None]:
        """Read a table in one page."""
        table = self._table(request)
        consistent = bool(request.get("ConsistentRead"))
        found = [item for key in list(table.versions) if (item := self._seen(table, key, consistent)) is not None]
        return {"Items": found, "Count": len(found)}, None

    # --- inside
    def _table(self, request: Request) -> Table:
        name = request["TableName"]
        if name not in self._tables:
            raise refusal("ResourceNotFoundException", f"table {name} does not exist")
        given = (*request.get("ExpressionAttributeNames", ()), *request.get("ExpressionAttributeValues", ()))
        texts = tuple(request[kind] for kind in EXPRESSIONS if kind in request) if given else ()
        if spare := unused(texts, given):
            raise refusal("ValidationException", f"Value provided in ExpressionAttributeValues unused: {spare}")
        return self._tables[name]

    def _checked(self, table: Table, key: str, request: Request) -> Item | None:
        old = table.items.get(key)
        text = request.get("ConditionExpression")
        if text is None or condition(text)(
            old or {}, request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
        ):
            return old
        self.units["refused"] += write_units(old)
        shown = old is not None and request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        raise refusal("ConditionalCheckFailedException", "The conditional request failed", Item=old if shown else None)

    def _write(self, table: Table, key: str, old: Item | None, new: Item | None) -> Write:
        octets = size(new)
        if octets > ITEM_LIMIT:
            raise refusal("ValidationException", "Item size to update has exceeded the maximum allowed size")
        units = max(1, math.ceil(max(octets, table.sizes.get(key, 0)) / WRITE_UNIT))
        write = Write(table.name, key, old, new, units, table.index_units(old, new))
        table.put(key, new, octets, self._now())
        self.units["written"] += write.table_units + write.index_units
        return write

    def _seen(self, table: Table, key: str, consistent: bool) -> Item | None:
        if consistent:
            return table.items.get(key)
        return table.as_of(key, self._now() - self._lag())

    def _rows(self, table: Table, index: Index, request: Request) -> list[tuple[int | float, str, str]]:
        holds = condition(request["KeyConditionExpression"])
        names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
        now, rows = self._now(), []
        for key in table.versions:
            item = table.as_of(key, now - self._lag())
            if item is None or index.hash not in item or index.range not in item:
                continue
            if holds(item, names, values):
                rows.append((plain(item[index.range]), key, plain(item[index.hash])))
        return rows


class Transactions:
    """TransactWriteItems: two-phase, idempotent by token, a reason for each operation that stood in the way."""

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._database, self._now = database, now
        self._tokens: dict[str, tuple[int, str]] = {}

    def make(self, request: Request) -> tuple[Answer, list[Write]]:
        """Make a transaction."""
        operations = [next(iter(item.items())) for item in request["TransactItems"]]
        text, token = repr(operations), request["ClientRequestToken"]
        at, known = self._tokens.get(token, (0, ""))
        if known and self._now() - at <= TOKEN_MS:
            if known == text:
                return {}, []
            raise refusal("IdempotentParameterMismatchException", "the token was used for another transaction")
        self._refuse_twice(operations)
        reasons = [self._reason(one) for _, one in operations]
        if any(reason["Code"] != "None" for reason in reasons):
            codes = ", ".join(reason["Code"] for reason in reasons)
            raise refusal("TransactionCanceledException", f"cancelled [{codes}]", CancellationReasons=reasons)
        self._tokens[token] = (self._now(), text)
        made = [self._made(kind, one) for kind, one in operations]
        return {}, [write for write in made if write is not None]

    def _refuse_twice(self, operations: list[tuple[str, Request]]) -> None:
        items = [self._item_of(one) for _, one in operations]
        if len(items) > TRANSACTION_LIMIT or len(set(items)) < len(items):
            raise refusal("ValidationException", "too many operations, or two of them on one item")

    def _item_of(self, request: Request) -> tuple[str, str]:
        table = self._database._table(request)
        return table.name, table.key_of(request.get("Key") or request["Item"])

    def _reason(self, request: Request) -> dict[str, Any]:
        table, (_, key) = self._database._table(request), self._item_of(request)
        try:
            self._database._checked(table, key, request)
        except ClientError as error:
            item = error.response.get("Item")
            return {"Code": "ConditionalCheckFailed", "Message": "refused", **({"Item": item} if item else {})}
        return {"Code": "None"}

    def _made(self, kind: str, request: Request) -> Write | None:
        makers = {
            "Put": self._database.put_item,
            "Update": self._database.update_item,
            "Delete": self._database.delete_item,
        }
        return makers[kind](request)[1] if kind in makers else None


class Table:
    """One table and all that it ever held that a lagging read may still show."""

    def __init__(self, name: str, key: str, index: Index | None) -> None:
        self.name, self.key, self.index = name, key, index
        self.items: dict[str, Item] = {}
        self.versions: dict[str, list[tuple[int, Item | None]]] = {}
        self.sizes: dict[str, int] = {}

    def key_of(self, item: Item) -> str:
        """Give an item's key."""
        key = item.get(self.key, {}).get("S")
        if not isinstance(key, str) or not 0 < len(key.encode()) <= KEY_BYTES:
            raise refusal("ValidationException", f"the key {self.key} must be 1 to {KEY_BYTES} bytes of text")
        return key

    def put(self, key: str, new: Item | None, octets: int, now: int) -> None:
        """Take an item's new version."""
        self.sizes[key] = octets
        self.versions.setdefault(key, []).append((now, new))
        if new is None:
            self.items.pop(key, None)
        else:
            self.items[key] = new

    def as_of(self, key: str, then: int) -> Item | None:
        """Give the item as it was at a time."""
        return next((item for at, item in reversed(self.versions.get(key, ())) if at <= then), None)

    def index_units(self, old: Item | None, new: Item | None) -> int:
        """Write units in the index: one to remove an entry, one to add one, none where it stays."""
        before, after = self._place(old), self._place(new)
        return 0 if before == after else (before is not None) + (after is not None)

    def _place(self, item: Item | None) -> tuple[Any, Any] | None:
        if self.index is None or item is None or self.index.hash not in item or self.index.range not in item:
            return None
        return plain(item[self.index.hash]), plain(item[self.index.range])


def refusal(code: str, message: str, **more: Any) -> ClientError:
    """Make the exception that boto3 raises for an error answer."""
    status = {"ResponseMetadata": {"HTTPStatusCode": 400}}
    response: Any = {"Error": {"Code": code, "Message": message}, **status}
    return ClientError(response | {name: value for name, value in more.items() if value is not None}, "Model")


def write_units(item: Item | None) -> int:
    """Units of a write of an item; one that is not there counts as one."""
    return max(1, math.ceil(size(item) / WRITE_UNIT))


def size(item: Item | None) -> int:
    """Bytes of an item as DynamoDB counts them (AWS, "DynamoDB item sizes and formats")."""
    return sum(len(name.encode()) + _size_of(value) for name, value in (item or {}).items())


def _size_of(value: dict[str, Any]) -> int:
    ((kind, raw),) = value.items()
    if kind == "S":
        return len(raw) if raw.isascii() else len(raw.encode())
    if kind == "N":
        return (len(raw.strip("-").replace(".", "")) + 1) // 2 + 1
    if kind == "M":
        return 3 + size(raw) + len(raw)
    if kind == "L":
        return 3 + sum(1 + _size_of(entry) for entry in raw)
    return len(raw) if kind in ("SS", "NS", "B") else 1
