"""Notes: items of the job table that are not jobs: plain results, results of a group, chord members, ticks, payloads.

A note's key contains a unit separator, which `jobs.checks` refuses in job ids: no call can mistake a note for a job, or
give a job the key of a note. A note has no place in the index, so lists and recovery never see it. It expires at its
own ``expires_at``, which is honored even before DynamoDB deletes the item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.jobs.storage.members import Arrivals, Members
from jobclaim.jobs.storage.note_keys import SEPARATOR, Kind, key
from jobclaim.jobs.storage.records import HasTable

__all__ = ["SEPARATOR", "Arrivals", "Kind", "Notes", "key"]

_FREE: Final = "attribute_not_exists(#text) OR #text = :text AND (#owner = :owner OR #at < :stale OR #at > :ahead)"


class Notes(Members):
    """Requests on the notes of one job table; all of them raise `StoreUnavailable`."""

    @classmethod
    def of(cls, repo: HasTable) -> Self:
        """Return the notes of a repo's table, using the repo's own client."""
        return cls(repo.table.client, repo.table.name, clock=repo.clock, sleep=repo.table.sleep)

    def put(self, kind: Kind, name: str, text: str, *, seconds: float) -> None:
        """Write a note that lasts for some seconds; it replaces an earlier one."""
        item = {**key(kind, name), "text": attribute(text), schema.TTL: attribute(self._end(seconds))}
        self._ask(lambda: self._client().put_item(TableName=self._table, Item=item))

    def get(self, kind: Kind, name: str) -> str | None:
        """Read a note consistently; ``None`` if there is none or it has expired."""
        answer = self._ask(
            lambda: self._client().get_item(TableName=self._table, Key=key(kind, name), ConsistentRead=True)
        )
        return self._text(answer.get("Item"))

    def get_many(self, kind: Kind, names: Sequence[str]) -> dict[str, str]:
        """Read notes one by one; missing ones are left out."""
        found = {name: self.get(kind, name) for name in dict.fromkeys(names)}
        return {name: text for name, text in found.items() if text is not None}

    def seize(self, kind: Kind, name: str, text: str, owner: str, *, stale_ms: int, seconds: float) -> str | None:
        """Write a note as its owner; return ``None``, or the text of the existing note that prevents it.

        A note with another text stays. One with the same text stays while a different owner wrote it less than
        ``stale_ms`` ago; a time further ahead than that comes from a wrong clock and is ignored.
        """
        now = self._clock()
        applied, item = self._write(
            "update_item",
            Key=key(kind, name),
            UpdateExpression="SET #text = :text, #owner = :owner, #at = :now, #ttl = :ttl",
            ConditionExpression=_FREE,
            ExpressionAttributeNames={"#text": "text", "#owner": "owner", "#at": "taken_at", "#ttl": schema.TTL},
            ExpressionAttributeValues={
                ":text": attribute(text),
                ":owner": attribute(owner),
                ":now": attribute(now),
                ":stale": attribute(now - stale_ms),
                ":ahead": attribute(now + stale_ms),
                ":ttl": attribute(self._end(seconds)),
            },
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        return None if applied else str(item.get("text", {}).get("S", ""))

    def delete(self, kind: Kind, name: str) -> None:
        """Remove a note, if there is one."""
        self._ask(lambda: self._client().delete_item(TableName=self._table, Key=key(kind, name)))

    def _text(self, item: Mapping[str, Any] | None) -> str | None:
        if not item or "text" not in item or int(item[schema.TTL]["N"]) * 1000 <= self._clock():
            return None
        return str(item["text"]["S"])
