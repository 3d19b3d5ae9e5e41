"""Tasks of an imported app, as values for the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered task."""

    name: str
    queue: str = ""
    routed: bool = True
    limited: bool = True
    acks_late: bool = False
    claims: bool = False


@dataclass(frozen=True, slots=True)
class InspectedApp:
    """An inspected app: its tasks, and its queues for tasks."""

    tasks: Mapping[str, Registered] = field(default_factory=dict)
    queues: tuple[str, ...] = ()
