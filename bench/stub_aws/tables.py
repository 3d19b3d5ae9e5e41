"""DynamoDB tables in memory, with the units that AWS would bill."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from typing import Any, Final

from bench.stub_aws.expressions import BadExpression, Context, Item, condition, order, update

WRITE_UNIT: Final = 1024
READ_UNIT: Final = 4096
PAGE_BYTES: Final = 1_048_576


class AwsError(Exception):
    """An error response: its code and further fields."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.more = more


class Table:
    """One table: its items, its indexes, and what its requests cost."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description
        self.key_names = [key["AttributeName"] for key in description["KeySchema"]]
        self.items: dict[tuple[Any, ...], Item] = {}
        self._sizes: dict[tuple[Any, ...], int] = {}
        self.indexes = {index["IndexName"]: Index(index) for index in description.get("GlobalSecondaryIndexes", ())}
        self.units: Counter[str] = Counter()

    def key_of(self, item: Item) -> tuple[Any, ...]:
        """Return an item's primary key as Python values."""
        return tuple([order(item[name]) for name in self.key_names])

    def write(self, request: dict[str, Any], new: Item | None, key: tuple[Any, ...]) -> Item | None:
        """Replace an item (``None``: delete it) if the condition holds; return the old one."""
        old = self.items.get(key)
        self._check(request, _context(request, old))
        before = self._sizes.get(key, 0)
        octets = size(new) if old is None or new is None else before + growth(old, new)
        self.units["write table"] += write_units(max(octets, before))
        for index in self.indexes.values():
            self.units["write index"] += index.replace(old, new, key)
        if new is None:
            self.items.pop(key, None)
            self._sizes.pop(key, None)
        else:
            self.items[key], self._sizes[key] = new, octets
        return old

    def updated(self, request: dict[str, Any], key: tuple[Any, ...]) -> Item:
        """Return the item after an update expression without writing it; the condition is checked."""
        old = self.items.get(key)
        context = _context(request, old)
        self._check(request, context)
        new = dict(old if old is not None else request["Key"])
        for action in update(request["UpdateExpression"]):
            action(context, new)
        return new

    def read(self, key: tuple[Any, ...], *, consistent: bool) -> Item | None:
        """Return an item."""
        found = self.items.get(key)
        self.units["read table"] += max(1, math.ceil(size(found) / READ_UNIT)) * (1 if consistent else 0.5)  # type: ignore[assignment]
        return found

    def query(self, request: dict[str, Any]) -> dict[str, Any]:
        """Read one page of an index partition."""
        index = self.indexes[request["IndexName"]]
        wanted = condition(request["KeyConditionExpression"])
        entries = index.entries(_partition(request, index.hash_name))
        if not request.get("ScanIndexForward", True):
            entries = entries[::-1]
        found = [key for _, key in entries if wanted(_context(request, self.items[key]))]
        if "ExclusiveStartKey" in request:
            found = found[found.index(self.key_of(request["ExclusiveStartKey"])) + 1 :]
        page = [index.view(self.items[key], self.key_names) for key in found[: request.get("Limit", 1_000_000)]]
        self.units["read index"] += max(0.5, math.ceil(sum(map(size, page)) / READ_UNIT) * 0.5)  # type: ignore[assignment]
        answer: dict[str, Any] = {"Items": page, "Count": len(page), "ScannedCount": len(page)}
        if len(page) < len(found):
            answer["LastEvaluatedKey"] = {name: page[-1][name] for name in (*self.key_names, *index.key_names)}
        return answer

    def scan(self) -> dict[str, Any]:
        """Read the table, up to a megabyte of it, in one page."""
        found = list(self.items.values())
        read = sum(map(size, found))
        if read > PAGE_BYTES:
            raise BadExpression("a table too large to scan")
        self.units["read table"] += max(0.5, math.ceil(read / READ_UNIT) * 0.5)  # type: ignore[assignment]
        return {"Items": found, "Count": len(found), "ScannedCount": len(found)}

    def _check(self, request: dict[str, Any], context: Context) -> None:
        if "ConditionExpression" not in request or condition(request["ConditionExpression"])(context):
            return
        self.units["write table"] += write_units(size(context.item))  # billed like a write that succeeds
        shown = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and context.item
        more = {"Item": context.item} if shown else {}
        raise AwsError("ConditionalCheckFailedException", "The conditional request failed", **more)


class Index:
    """One global secondary index: sorted keys per partition, and its share of each write."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.key_names = [key["AttributeName"] for key in description["KeySchema"]]
        self.hash_name = self.key_names[0]
        projection = description["Projection"]
        self._projects_all = projection["ProjectionType"] == "ALL"
        self._projected_names = list(dict.fromkeys([*self.key_names, *projection.get("NonKeyAttributes", ())]))
        self._partitions: dict[Any, list[tuple[Any, tuple[Any, ...]]]] = {}

    def entries(self, partition: Any) -> list[tuple[Any, tuple[Any, ...]]]:
        """Sort keys and primary keys of a partition, in order."""
        return self._partitions.get(partition, [])

    def view(self, item: Item, key_names: list[str]) -> Item:
        """Return the projection of an item in the index."""
        if self._projects_all:
            return item
        kept = {*self._projected_names, *key_names}
        return {name: value for name, value in item.items() if name in kept}

    def replace(self, old: Item | None, new: Item | None, key: tuple[Any, ...]) -> int:
        """Replace an entry; return the write units: two for a changed key, one for a changed projection, else none."""
        left, right = self._projected(old), self._projected(new)
        if left == right:
            return 0
        before, after = self._place(left), self._place(right)
        if before == after:
            return write_units(max(size(left), size(right))) if before is not None else 0
        units = 0
        if before is not None:
            entries = self._partitions[before[0]]
            entries.pop(bisect.bisect_left(entries, (before[1], key)))
            units += write_units(size(left))
        if after is not None:
            bisect.insort(self._partitions.setdefault(after[0], []), (after[1], key))
            units += write_units(size(right))
        return units

    def _projected(self, item: Item | None) -> Item:
        if item is None:
            return {}
        return item if self._projects_all else {name: item[name] for name in self._projected_names if name in item}

    def _place(self, item: Item) -> tuple[Any, Any] | None:
        values = []
        for name in self.key_names:
            if name not in item:
                return None
            values.append(order(item[name]))
        return values[0], values[1] if len(values) > 1 else 0


def write_units(octets: int) -> int:
    """Return the units of a write of that many bytes; a missing item counts as one unit."""
    return max(1, math.ceil(octets / WRITE_UNIT))


def size(item: Item | None) -> int:
    """Return the bytes of an item as DynamoDB counts them (AWS, "DynamoDB item sizes and formats")."""
    octets = 0
    for name, value in (item or {}).items():
        ((kind, raw),) = value.items()
        octets += len(name.encode()) + (len(raw.encode()) if kind == "S" else _value_size(kind, raw))
    return octets


def growth(old: Item, new: Item) -> int:
    """Return by how many bytes an item has grown; values that both versions share need not be counted."""
    added = {name: value for name, value in new.items() if old.get(name) is not value}
    removed = {name: value for name, value in old.items() if new.get(name) is not value}
    return size(added) - size(removed)


def _value_size(kind: str, raw: Any) -> int:
    if kind == "S":
        return len(raw.encode())
    if kind == "N":
        return (len(raw.strip("-").replace(".", "")) + 1) // 2 + 1
    if kind == "M":
        return 3 + size(raw) + len(raw)
    if kind == "L":
        return 3 + sum(1 + _value_size(*next(iter(entry.items()))) for entry in raw)
    return len(raw) if kind in ("B", "SS", "NS") else 1


def _context(request: dict[str, Any], item: Item | None) -> Context:
    names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
    return Context(item or {}, names, values)


def _partition(request: dict[str, Any], hash_name: str) -> Any:
    """Return the value of the hash key, with which the key condition must begin."""
    name, _, value = request["KeyConditionExpression"].split()[:3]
    if request.get("ExpressionAttributeNames", {}).get(name, name) != hash_name:
        raise BadExpression(request["KeyConditionExpression"])
    return order(request["ExpressionAttributeValues"][value])
