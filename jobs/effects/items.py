"""The items that a transaction writes: DynamoDB takes one operation per item, so a second one is refused early.

Only a table knows which attributes of a put are its key. The first operation that names a key reveals them, and earlier
puts are checked then; a table with puts only is left to DynamoDB to check.
"""

from __future__ import annotations

import json

from jobclaim.jobs.effects.values import canonical
from jobclaim.jobs.effects.write import Write
from jobclaim.jobs.errors import InvalidEffect


class ItemsOfTable:
    """The items of one table that a transaction has operations on."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._puts: list[Write] = []
        self._seen: set[str] = set()

    def add(self, write: Write) -> None:
        """Add one more operation.

        Raises
        ------
        InvalidEffect
            The transaction already has an operation on the same item.
        """
        if "Key" in write.request and not self._names:
            self._names = tuple(sorted(write.request["Key"]))
            self._seen = {key for put in self._puts if (key := self._key_of(put))}
        key = self._key_of(write)
        if key and key in self._seen:
            raise InvalidEffect(
                f"{write.what}: the transaction already has an operation on this item of table {write.table_name!r} "
                f"(key {list(self._names)}), and DynamoDB takes one for each item; combine them into one update"
            )
        self._seen.add(key)
        if not self._names:
            self._puts.append(write)

    def _key_of(self, write: Write) -> str:
        values = write.request.get("Key") or write.request["Item"]
        if not self._names or not all(name in values for name in self._names):
            return ""
        return json.dumps([canonical(values[name]) for name in self._names])
