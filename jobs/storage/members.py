"""Counting the members of a chord: once each, however often one arrives, for about one write unit per member.

::

    up to 60      one note: a set of hashes, and how many are expected; every arrival writes it
    more          parts of about 64 members, each a note of its own with a set of hashes
                  member ──▶ its part, by the hash of its id ──it is full──▶ the chord's note: a set of full parts

An update is billed by the size of the whole item, and one key takes 1,000 write units a second: so no note exceeds one
kilobyte, and only the last member of each part writes the shared note. Adding to a set is idempotent; a retried member,
a duplicate message and a request whose answer was lost therefore count once, and the caller that sees the last part
full wakes the chord. The number of members expected in each part is written before the first of them is sent; a process
reads it once per chord, by a write to the chord's note that is refused.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.storage.note_keys import SEPARATOR, Kind, key
from jobclaim.jobs.storage.records import Records

MEMBER_DIGITS: Final = 14
"""Digits of the hash of a member of a small chord: two of 1,000 collide once in 10**11 chords."""
ONE_NOTE: Final = 60
"""Maximum members whose hashes fit into one note of one kilobyte."""
PART: Final = 64
"""Average members per part; some parts have a third more, which still takes less than one kilobyte."""
MOST_OF_A_PART: Final = 255
PLANS_KEPT: Final = 100
"""Chords whose plan a process remembers."""

_NAMES: Final = {
    "#ttl": schema.TTL,
    "#members": "members",
    "#expected": "expected",
    "#full": "full_parts",
    "#plan": "plan",
}


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The arrivals at a chord so far.

    Attributes
    ----------
    count : int
        Distinct members; in a chord that has a plan, parts that are full.
    expected : int
        0 while it is not known.
    """

    count: int
    expected: int

    @property
    def complete(self) -> bool:
        """Whether all members have arrived."""
        return 0 < self.expected <= self.count


class Members(Records):
    """Requests that count members; all of them raise `StoreUnavailable`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plans: dict[str, tuple[int, ...]] = {}

    def plan(self, name: str, members: Collection[str], *, seconds: float) -> None:
        """Divide a chord that one note cannot hold into parts: at most one write, before a member is sent.

        The same members always get the same plan: a chord that is begun a second time loses no member.
        """
        if len(members) <= ONE_NOTE:
            return
        parts = -(-len(members) // PART)
        sizes = Counter(_part_of(member, parts) for member in set(members))
        text = bytes(min(sizes[part], MOST_OF_A_PART) for part in range(parts)).hex()
        self._update(name, "SET #plan = :it, #ttl = :ttl", {":it": attribute(text)}, seconds)

    def arrive(self, name: str, member: str, *, seconds: float) -> Arrivals:
        """Count a member of a chord, once however often it arrives."""
        sizes = self._plans.get(name)
        if sizes is None:
            digest = _digest(member)
            try:
                return _counted(
                    self._update(
                        name,
                        "ADD #members :it SET #ttl = :ttl",
                        {":it": {"SS": [digest]}},
                        seconds,
                        ConditionExpression="attribute_not_exists(#plan)",
                        ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    )
                )
            except ClientError as error:  # `persistently` lets only a refused condition through
                response: Any = error.response
                sizes = self._remember(name, response["Item"]["plan"]["S"])
        return self._arrive_in_part(name, sizes, member, seconds)

    def expect(self, name: str, members: int, *, seconds: float) -> Arrivals:
        """Write the number of a chord's members, when the last of them is about to be sent: one write."""
        return _counted(self._update(name, "SET #expected = :it, #ttl = :ttl", {":it": attribute(members)}, seconds))

    def arrivals(self, name: str) -> Arrivals:
        """Read how many members have arrived, consistently: one read."""
        return _counted(self._read(name))

    def is_announced(self, name: str) -> bool:
        """Check whether the last member was about to be sent, that is, whether `expect` was called."""
        return "expected" in self._read(name)

    def arrived(self, name: str, members: Iterable[str]) -> set[str]:
        """Return the members that were counted: one read for a small chord, otherwise one per affected part."""
        names = list(members)
        note = self._read(name)
        if "plan" not in note:
            return {member for member in names if _digest(member) in _set(note)}
        parts = len(note["plan"]["S"]) // 2
        known = {part: _set(self._read(_name(name, part))) for part in {_part_of(member, parts) for member in names}}
        return {member for member in names if _short(member) in known[_part_of(member, parts)]}

    def _arrive_in_part(self, name: str, sizes: tuple[int, ...], member: str, seconds: float) -> Arrivals:
        part, expected = _part_of(member, len(sizes)), sum(1 for size in sizes if size)
        written = self._update(
            _name(name, part), "ADD #members :it SET #ttl = :ttl", {":it": {"SS": [_short(member)]}}, seconds
        )
        if len(_set(written)) < sizes[part]:
            return Arrivals(0, expected)
        return _counted(self._update(name, "ADD #full :it SET #ttl = :ttl", {":it": {"NS": [str(part)]}}, seconds))

    def _remember(self, name: str, plan: str) -> tuple[int, ...]:
        while len(self._plans) >= PLANS_KEPT:
            self._plans.pop(next(iter(self._plans)), None)
        self._plans[name] = sizes = tuple(bytes.fromhex(plan))
        return sizes

    def _read(self, name: str) -> Item:
        answer = self._ask(
            lambda: self._client().get_item(TableName=self._table, Key=key(Kind.CHORD, name), ConsistentRead=True)
        )
        return answer.get("Item") or {}

    def _update(self, name: str, expression: str, values: Item, seconds: float, **more: Any) -> Item:
        expressions = f"{expression} {more.get('ConditionExpression', '')}"
        answer = self._ask(
            lambda: self._client().update_item(
                TableName=self._table,
                Key=key(Kind.CHORD, name),
                UpdateExpression=expression,
                ExpressionAttributeNames={name: word for name, word in _NAMES.items() if name in expressions},
                ExpressionAttributeValues={**values, ":ttl": attribute(self._end(seconds))},
                ReturnValues="ALL_NEW",
                **more,
            )
        )
        return answer["Attributes"]  # type: ignore[no-any-return]

    def _end(self, seconds: float) -> int:
        return -(-self._clock() // 1000) + max(1, round(seconds))


def _counted(note: Item) -> Arrivals:
    if "plan" in note:
        sizes = bytes.fromhex(note["plan"]["S"])
        return Arrivals(len(note.get("full_parts", {}).get("NS", ())), sum(1 for size in sizes if size))
    return Arrivals(len(_set(note)), int(note.get("expected", {}).get("N", 0)))


def _set(note: Item) -> set[str]:
    return set(note.get("members", {}).get("SS", ()))


def _name(name: str, part: int) -> str:
    return f"{name}{SEPARATOR}{part}"


def _hash(member: str) -> bytes:
    return hashlib.sha256(member.encode()).digest()


def _digest(member: str) -> str:
    return _hash(member).hex()[:MEMBER_DIGITS]


def _short(member: str) -> str:
    """Return eight characters of a member's hash, from other bits than those that choose its part."""
    return base64.b64encode(_hash(member)[8:14]).decode()


def _part_of(member: str, parts: int) -> int:
    return int.from_bytes(_hash(member)[:8], "big") % parts
