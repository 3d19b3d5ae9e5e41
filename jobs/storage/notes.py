"""Notes: items of the job table that are not jobs: plain results, results of a group, members of a chord, ticks.

A note's key holds a unit separator, which `jobs.checks` refuses in the id of a job: no call can take a note for a job,
or hide one behind the other. A note has no place in the index, so lists and recovery never see one; it ends by its own
``expires_at``, which is honoured before DynamoDB gets round to deleting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self, TypeVar

from botocore.exceptions import ClientError

from jobclaim.jobs.repo.store import Store
from jobclaim.jobs.storage import schema
from jobclaim.jobs.storage.item import Item, attribute
from jobclaim.jobs.storage.records import Records
from jobclaim.jobs.storage.resilience import condition_failed

T = TypeVar("T")

SEPARATOR: Final = "\x1f"
MEMBER_DIGITS: Final = 14
"""Digits of the hash that stands for a member of a chord: two of 1,000 are alike once in 10**11 chords."""


_FREE: Final = "attribute_not_exists(#text) OR #text = :text AND (#owner = :owner OR #at < :stale OR #at > :ahead)"
_NAMES: Final = {"#ttl": schema.TTL, "#members": "members", "#expected": "expected"}


class Kind(StrEnum):
    """What a note is about."""

    RESULT = "result"
    GROUP = "group"
    CHORD = "chord"
    TICK = "tick"


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Who came to a chord so far.

    Attributes
    ----------
    count : int
        Different members; one that comes twice is one.
    expected : int
        0 while it is not known.
    """

    count: int
    expected: int

    @property
    def complete(self) -> bool:
        """Whether everybody is there."""
        return 0 < self.expected <= self.count


class Notes(Records):
    """Requests on the notes of one job table; all of them raise `StoreUnavailable`."""

    @classmethod
    def of(cls, repo: Store) -> Self:
        """Give the notes of a repo's table, through the repo's own client."""
        return cls(repo.table.client, repo.table.name, clock=repo.clock, sleep=repo.table.sleep)

    def put(self, kind: Kind, name: str, text: str, *, seconds: float) -> None:
        """Write a note, in the place of an earlier one, that lasts for some seconds."""
        item = {**key(kind, name), "text": attribute(text), schema.TTL: attribute(self._end(seconds))}
        self._ask(lambda: self._client().put_item(TableName=self._table, Item=item))

    def get(self, kind: Kind, name: str) -> str | None:
        """Read a note, consistently; ``None`` where there is none, or its time is over."""
        answer = self._ask(
            lambda: self._client().get_item(TableName=self._table, Key=key(kind, name), ConsistentRead=True)
        )
        return self._text(answer.get("Item"))

    def get_many(self, kind: Kind, names: Sequence[str]) -> dict[str, str]:
        """Read notes one by one; missing ones are left out."""
        found = {name: self.get(kind, name) for name in dict.fromkeys(names)}
        return {name: text for name, text in found.items() if text is not None}

    def seize(self, kind: Kind, name: str, text: str, owner: str, *, stale_ms: int, seconds: float) -> str | None:
        """Write a note in one's own name; give ``None``, or the text of the note that stands in the way.

        One with another text stays. One with the same text stays while its owner is somebody else who wrote it less
        than ``stale_ms`` ago; a time further ahead than that is of a clock that is not to be believed.
        """
        now = self._clock()
        request = {
            "UpdateExpression": "SET #text = :text, #owner = :owner, #at = :now, #ttl = :ttl",
            "ConditionExpression": _FREE,
            "ExpressionAttributeNames": {"#text": "text", "#owner": "owner", "#at": "taken_at", "#ttl": schema.TTL},
            "ExpressionAttributeValues": {
                ":text": attribute(text),
                ":owner": attribute(owner),
                ":now": attribute(now),
                ":stale": attribute(now - stale_ms),
                ":ahead": attribute(now + stale_ms),
                ":ttl": attribute(self._end(seconds)),
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            self._ask(lambda: self._client().update_item(TableName=self._table, Key=key(kind, name), **request))
        except ClientError as error:
            if not condition_failed(error):
                raise
            response: Any = error.response
            return str(response.get("Item", {}).get("text", {}).get("S", ""))
        return None

    def delete(self, kind: Kind, name: str) -> None:
        """Remove a note, if there is one."""
        self._ask(lambda: self._client().delete_item(TableName=self._table, Key=key(kind, name)))

    def arrive(self, name: str, member: str, *, seconds: float) -> Arrivals:
        """Count a member of a chord, once however often it comes: one write."""
        digest = hashlib.sha256(member.encode()).hexdigest()[:MEMBER_DIGITS]
        return self._count(name, "ADD #members :it SET #ttl = :ttl", {":it": {"SS": [digest]}}, seconds)

    def expect(self, name: str, members: int, *, seconds: float) -> Arrivals:
        """Tell how many members a chord has: one write."""
        return self._count(name, "SET #expected = :it, #ttl = :ttl", {":it": attribute(members)}, seconds)

    def _count(self, name: str, expression: str, values: Item, seconds: float) -> Arrivals:
        answer = self._ask(
            lambda: self._client().update_item(
                TableName=self._table,
                Key=key(Kind.CHORD, name),
                UpdateExpression=expression,
                ExpressionAttributeNames={name: word for name, word in _NAMES.items() if name in expression},
                ExpressionAttributeValues={**values, ":ttl": attribute(self._end(seconds))},
                ReturnValues="ALL_NEW",
            )
        )
        item = answer["Attributes"]
        return Arrivals(len(item.get("members", {}).get("SS", ())), int(item.get("expected", {}).get("N", 0)))

    def _text(self, item: Mapping[str, Any] | None) -> str | None:
        if not item or "text" not in item or int(item[schema.TTL]["N"]) * 1000 <= self._clock():
            return None
        return str(item["text"]["S"])

    def _end(self, seconds: float) -> int:
        return -(-self._clock() // 1000) + max(1, round(seconds))


def key(kind: Kind, name: str) -> Item:
    """Give the key of a note."""
    return {schema.KEY: attribute(f"{kind}{SEPARATOR}{name}")}
