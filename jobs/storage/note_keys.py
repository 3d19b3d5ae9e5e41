"""Keys of notes: kind and name, joined by a separator that job ids cannot contain."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute

SEPARATOR: Final = "\x1f"


class Kind(StrEnum):
    """Kinds of notes."""

    RESULT = "result"
    GROUP = "group"
    CHORD = "chord"
    HEADER = "header"
    TICK = "tick"
    PAYLOAD = "payload"
    SENT = "sent"
    EDITED = "edited"
    RUNS = "runs"


def key(kind: Kind, name: str) -> Item:
    """Return the key of a note."""
    return {schema.KEY: attribute(f"{kind}{SEPARATOR}{name}")}
