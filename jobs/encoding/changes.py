"""What an update must set and remove to turn one state of a job into another."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final, final

from jobclaim.jobs.encoding.item import ALWAYS_STORED, ENCODERS, is_absent, place, stored_value
from jobclaim.jobs.encoding.schema import INDEX_HASH, INDEX_RANGE
from jobclaim.jobs.model import Job


@final
@dataclass(frozen=True, slots=True)
class PlusAttribute:
    """A new value that DynamoDB computes itself: ``value`` plus another attribute of the same item."""

    value: int
    attribute: str


@final
@dataclass(frozen=True, slots=True)
class Increment:
    """A counter that increases by ``by``."""

    by: int


Change = str | int | float | PlusAttribute | Increment | None
"""A new value; ``None`` removes the attribute."""


def changes(before: Job, after: Job, *, shards: int, index_completed: bool) -> dict[str, Change]:
    """Return what an update must set and remove to turn ``before`` into ``after``; ``status`` is part of the move."""
    difference: dict[str, Change] = {}
    new, old = _values(after), _values(before)
    others = [(name, now, then) for name, now, then in zip(_CHANGEABLE, new, old, strict=True) if now is not then]
    if after.payload is not before.payload or after.payload_mark is not before.payload_mark:
        others.append(("payload", stored_value(after, "payload"), stored_value(before, "payload")))
    for name, now, then in others:
        if now is not then and not _same(name, now, then):
            difference[name] = _stored(name, now)
    old_place = place(before, shards=shards, index_completed=index_completed)
    new_place = place(after, shards=shards, index_completed=index_completed)
    for name in (INDEX_HASH, INDEX_RANGE):
        if old_place.get(name) != (at := new_place.get(name)):
            difference[name] = at
    return difference


_NOT_CHANGED: Final = ("job_id", "status", "payload", "payload_mark", "created")
"""Fields that are not compared one by one: the payload is, with the mark that an item may hold instead."""
_CHANGEABLE: Final = tuple(field.name for field in fields(Job) if field.name not in _NOT_CHANGED)
_values: Final = attrgetter(*_CHANGEABLE)


def _same(name: str, value: Any, old: Any) -> bool:
    """Check whether two values are stored alike: Python considers 1, 1.0 and True equal, JSON does not."""
    if name in ENCODERS and value is not None and old is not None:
        return ENCODERS[name](value) == ENCODERS[name](old)
    return bool(value == old)


def _stored(name: str, value: Any) -> Change:
    if name in ENCODERS:
        return None if is_absent(name, value) else ENCODERS[name](value)
    stored: Change = value if value or name in ALWAYS_STORED else None
    return stored
