"""What a completed job keeps of its effects: their number and digest, and the kind, table and key of the first ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from jobclaim.jobs.effects.values import canonical
from jobclaim.jobs.effects.write import Write

MOST: Final = 5
MOST_TEXT: Final = 48
"""Writes that are named, and characters of a table or key: together at most half a kilobyte of the job's item."""
KINDS: Final[Mapping[str, str]] = {"Put": "put", "Update": "update", "Delete": "delete", "ConditionCheck": "check"}


class Made(NamedTuple):
    """One write that was made with a completion, as people read it."""

    kind: str
    table: str
    key: str


def evidence(writes: Collection[Write]) -> str:
    """Describe a set of writes, ``2:9f86d081884c7d65 [["put","orders","order_id=7"], ...]``; empty for no writes."""
    if not writes:
        return ""
    text = json.dumps([canonical(write.as_item()) for write in writes], sort_keys=True)
    named = [(KINDS[write.operation], _cut(write.table_name), _key(write)) for write in list(writes)[:MOST]]
    shown = json.dumps(named, ensure_ascii=False, separators=(",", ":"))
    return f"{len(writes)}:{hashlib.sha256(text.encode()).hexdigest()[:16]} {shown}"


def made(effects: str) -> tuple[int, list[Made]]:
    """Return the number of the effects of a job, and the first of them; none if an older release wrote them."""
    head, _, shown = effects.partition(" ")
    number = head.partition(":")[0]
    if not (number.isascii() and number.isdigit()):
        return 0, []
    try:
        return int(number), [Made(*map(str, one)) for one in json.loads(shown)]
    except (ValueError, TypeError):
        return int(number), []


def without_keys(effects: str, replacement: str) -> str:
    """Return the evidence with the keys, which may name persons, replaced by other text."""
    _, first = made(effects)
    shown = [(one.kind, one.table, replacement) for one in first]
    return f"{effects.partition(' ')[0]} {json.dumps(shown)}" if first else effects


def _key(write: Write) -> str:
    """Describe the item of a write by its key. A put without a condition does not show which attribute that is: take
    the first.
    """
    shown: dict[str, Any] = write.shown_key() or dict(list(write.request.get("Item", {}).items())[:1])
    return _cut(", ".join(f"{name}={_value(value)}" for name, value in shown.items()))


def _value(typed: Mapping[str, Any]) -> str:
    (value,) = typed.values()
    return value.hex() if isinstance(value, bytes) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"
