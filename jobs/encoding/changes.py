"""What an update must set and remove to turn one state of a job into another."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final

from jobclaim.jobs.encoding.item import ALWAYS_STORED, ENCODERS, is_absent, place, stored_value
from jobclaim.jobs.model import Job


@dataclass(frozen=True, slots=True)
class PlusAttribute:
    """A new value that DynamoDB computes itself: ``value`` plus another attribute of the same item."""

    value: int
    attribute: str


@dataclass(frozen=True, slots=True)
class Increment:
    """A counter that increases by ``by``."""

    by: int


Change = str | int | float | PlusAttribute | Increment | None
"""A new value; ``None`` removes the attribute."""


def changes(before: Job, after: Job, *, shards: int, index_completed: bool) -> dict[str, Change]:
    """Return what an update must set and remove to turn ``before`` into ``after``; ``status`` is part of the move."""
    difference: dict[str, Change] = {}
    pairs = zip(_CHANGEABLE, _values(after), _values(before), strict=True)
    others = [name for name, now, then in pairs if now is not then]
    if after.payload_mark is not before.payload_mark and "payload" not in others:
        others.append("payload")
    for name in others:
        value, old = stored_value(after, name), stored_value(before, name)
        if value is not old and not _same(name, value, old):
            difference[name] = _stored(name, value)
    old_place = place(before, shards=shards, index_completed=index_completed)
    new_place = place(after, shards=shards, index_completed=index_completed)
    for name in old_place.keys() | new_place.keys():
        if old_place.get(name) != new_place.get(name):
            difference[name] = new_place.get(name)
    return difference


_NOT_CHANGED: Final = ("job_id", "status", "payload_mark", "created")
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
