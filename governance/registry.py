"""Tasks as a running app knows them, as values that the rules take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Registered:
    """A task as the app knows it."""

    name: str
    queue: str = ""
    routed: bool = True
    limited: bool = True
    acks_late: bool = False
    claims: bool = False


@dataclass(frozen=True, slots=True)
class InspectedApp:
    """The app: its tasks, and its queues that carry tasks; ``None`` where the code was only read."""

    tasks: Mapping[str, Registered] = field(default_factory=dict)
    queues: tuple[str, ...] = ()
