"""What the judge has seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from jobclaim.settings import Settings
from tests.simulation.judge.effects import Effects
from tests.simulation.line import Process
from tests.simulation.scenario import Scenario
from tests.simulation.world import World


@dataclass
class Body:
    """A body: when it was claimed, and when it ended (``None`` while it runs), true times."""

    process: Process
    since: int
    until: int | None = None

    @property
    def undisturbed(self) -> bool:
        """Whether it still runs and nothing has held its process up since it began."""
        return self.until is None and self.process.disturbed_at < self.since


@dataclass
class Record:
    """What has been seen so far; times are true times.

    Attributes
    ----------
    ended : dict
        How a claim's owner ended its attempt, by job and token.
    counted, messages : Counter
        By job, run and attempt: dispatches that are stored, and messages that were sent.
    charged : Counter
        By run: bodies that have started and were not given back.
    allowed : dict
        By run: bodies that it may have.
    meant : dict
        By token: what the owner is about to say of its attempt.
    """

    world: World
    scenario: Scenario
    settings: Settings
    bodies: dict[str, dict[int, Body]] = field(default_factory=lambda: defaultdict(dict))
    ended: dict[tuple[str, str], str] = field(default_factory=dict)
    claimed_at: dict[tuple[str, str], int] = field(default_factory=dict)
    owners: dict[tuple[str, str], Process] = field(default_factory=dict)
    submissions: dict[str, str] = field(default_factory=dict)
    current: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    counted: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    messages: Counter[tuple[str, int | None]] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    lives: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    charged: Counter[str] = field(default_factory=Counter)
    allowed: dict[str, int] = field(default_factory=dict)
    usual: dict[str, int] = field(default_factory=dict)
    meant: dict[str, str] = field(default_factory=dict)
    strange: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    effects: Effects = field(default_factory=Effects)
    started: int = 0
    calm_since: int = 0

    @property
    def with_effects(self) -> bool:
        """Whether completions and submissions bring writes of their own."""
        return "effects" in self.scenario.dimensions
