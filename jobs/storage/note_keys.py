"""Keys of notes: kind and name, with a separator between them that no job's id may hold."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute

SEPARATOR: Final = "\x1f"


class Kind(StrEnum):
    """What a note is about."""

    RESULT = "result"
    GROUP = "group"
    CHORD = "chord"
    HEADER = "header"
    TICK = "tick"
    PAYLOAD = "payload"


def key(kind: Kind, name: str) -> Item:
    """Return the key of a note."""
    return {schema.KEY: attribute(f"{kind}{SEPARATOR}{name}")}
