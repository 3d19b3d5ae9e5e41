"""What rules speak of: an item's attributes, and what a rule says when it is broken."""

from __future__ import annotations

from typing import Any, Final

from tests.simulation.expressions import Item, plain
from tests.simulation.line import Writer
from tests.simulation.world import Broken

ENDS: Final = ("COMPLETED", "FAILED", "CANCELLED")
OPEN: Final = ("PENDING", "PROCESSING")
TEXTS: Final = ("status", "claim_token", "submission", "result", "dead_state", "queue")


class Facts:
    """The attributes of an item that rules speak of; what is not stored is 0 or empty."""

    def __init__(self, item: Item | None) -> None:
        self._item = item or {}

    def __getattr__(self, name: str) -> Any:
        typed = self._item.get(name)
        if typed is not None:
            return plain(typed)
        return "" if name in TEXTS else 0


def is_over(item: Item) -> bool:
    """Whether nothing happens to a job any more unless somebody wants it."""
    return item["status"]["S"] in ENDS and item.get("dead_state") != {"S": "SCHEDULED"}


def same_as_read(key: str, old: Facts, writer: Writer, *names: str) -> None:
    """Require that what is replaced is what the writer had read."""
    require(writer.seen is not None, "writes rest on what was read", f"{key}: {writer.process.name} read nothing")
    read = Facts(writer.seen)
    changed = {name: (getattr(read, name), getattr(old, name)) for name in names}
    changed = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
    require(not changed, "writes rest on what was read", f"{key}: {writer.process.name} read otherwise: {changed}")


def require(holds: bool, rule: str, what: str) -> None:
    """Raise unless a rule holds."""
    if not holds:
        raise Broken(rule, what)
