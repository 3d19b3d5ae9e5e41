"""What a seed stands for: who takes part, what goes wrong and how often. Shrinking leaves parts of it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from types import MappingProxyType
from typing import Any, Final, Self

from jobclaim.settings import QueueSpec, Settings
from tests.simulation.dimensions import DIMENSIONS, drawn, faults_of

FAULTS: Final = (
    "crash",  # a process dies between any two of its steps, and another takes its place
    "stall",  # a process stands still for up to three times its lease
    "hesitate",  # it stands still after it has read what its next write rests on
    "ponder",  # so, and it is a person
    "throttle",
    "unreachable",
    "lost-answer",  # the request was carried out, its caller does not learn it
    "late",  # so, and it is carried out only after the caller gave up and tried again
    "late-beat",  # so a heartbeat
    "lag",  # reads without ConsistentRead and the index show the past
    "skew",
    "lost-message",  # acknowledged by a worker that then did nothing
    "twice",
    "slow-message",  # and so out of order
    "send-failure",  # with or without the message being sent
    "rough-count",  # a queue's approximate number of messages is wrong
)
OFTEN: Final = ("hesitate", "ponder", "lost-message", "send-failure", "rough-count")
FEATURES: Final = ("far", "coarse", "listed", "dense", "ticking", "brief")
THEMES: Final = {
    "orphans": {"stall": 0.15, "hesitate": 0.3, "lag": 1.0},
    "silence": {"lost-message": 0.6, "hesitate": 0.3, "rough-count": 0.5, "slow-message": 0.2},
    "people": {"hesitate": 0.4, "stall": 0.03},
    "letters": {"ponder": 0.6},
    "heartbeats": {"late-beat": 0.3, "skew": 1.0},
}
CROWDED: Final = ("people", "letters")
LEAST: Final = {"submitters": 1, "workers": 1, "sweepers": 1, "people": 0}
SKEW_MS: Final = 4_000
"""Bound on a clock's error: two clocks differ by less than the grace of a lease, here 10 s (60 s by default)."""
TICK_MS: Final = 4_000
"""Between two ticks of a clock that ticks: what is rare within one millisecond then happens all the time."""
STALLS_MS: Final = (500, 5_000, 40_000, 50_000, 60_000, 100_000)
LAG_MS: Final = (300, 3_000, 30_000)
FAULTY_MS: Final = 120_000
SWEEP_MS: Final = 30_000
FORGETFUL: Final = frozenset({"ttl", "retention"})
MESSAGE_MS: Final = 60_000
"""How long SQS keeps a message where jobs are deleted: jobs must be kept longer."""
KEPT_MS: Final = 105_000
"""Longer than a process stands still between a read and a write, too: see `stalls`."""
WINDOW_SECONDS: Final = 140
"""A window that is longer than jobs are kept."""
SECOND: Final = "second"
LARGE_BYTES: Final = 2_000
SWEEPS: Final = 60
"""Passes, of all recovery processes together, after which every job must have ended once the faults have stopped."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run.

    Attributes
    ----------
    rates : dict of str to float
        Probability of a fault per occasion.
    far : bool
        Whether some jobs are due later than SQS can hold a message.
    coarse : bool
        Whether requests take no time at all, so that many things happen in one millisecond.
    listed : bool
        Whether the table lists completed jobs.
    dense : bool
        Whether all fight over one job.
    ticking : bool
        Whether clocks stand still between ticks, within the same bound, so that different times look the same.
    brief : bool
        Whether a job is given up after its first message.
    strangers : bool
        Whether somebody who knows the jobs' ids sends messages of his own, of another task and at once.
    dimensions : frozenset of str
        See `tests.simulation.dimensions`.
    theme : str
        What there is more of in a dense run: ``orphans``, ``silence`` of the queue, ``people`` and what they decide,
        dead ``letters``, or ``heartbeats`` that come late.
    """

    seed: int
    submitters: int
    workers: int
    sweepers: int
    people: int
    rates: dict[str, float] = field(default_factory=dict)
    far: bool = False
    coarse: bool = False
    listed: bool = False
    dense: bool = False
    theme: str = ""
    ticking: bool = False
    brief: bool = False
    strangers: bool = False
    dimensions: frozenset[str] = frozenset()

    @classmethod
    def of(cls, seed: int) -> Self:
        """Draw the scenario of a seed."""
        return cls.plain(seed).within(drawn(seed))

    @classmethod
    def plain(cls, seed: int) -> Self:
        """Draw it without any of the dimensions."""
        random = Random(f"{seed}/scenario")
        rates = {fault: random.choice((0.01, 0.03, 0.1)) for fault in FAULTS if random.random() < 0.5}
        rates |= {fault: random.choice((0.05, 0.2, 0.5)) for fault in OFTEN if fault in rates}
        dense = random.random() < 0.5
        theme = random.choice(tuple(THEMES)) if dense else ""
        return cls(
            seed=seed,
            dense=dense,
            theme=theme,
            submitters=random.randint(1, 4),
            workers=random.randint(1 + dense, 3),
            sweepers=random.randint(1 + dense, 2),
            people=random.randint(3, 4) if theme in CROWDED else random.randint(0, 2),
            rates=rates | THEMES.get(theme, {}),
            far=random.random() < 0.05,
            coarse=random.random() < 0.3,
            listed=random.random() < 0.3,
            ticking=random.random() < 0.3,
            brief=random.random() < 0.2,
        )

    def within(self, dimensions: frozenset[str]) -> Self:
        """Give the same run with other dimensions."""
        kept = {fault: rate for fault, rate in self.rates.items() if fault in FAULTS}
        if dimensions & FORGETFUL:  # a message that waits for longer than SQS keeps it is nobody's case
            kept.pop("slow-message", None)
        far = self.far and not dimensions & FORGETFUL
        return replace(self, dimensions=dimensions, rates=kept | faults_of(dimensions), far=far)

    def themed(self, theme: str, rates: Mapping[str, float] = MappingProxyType({}), **changes: Any) -> Self:
        """Give a dense run on a theme with the same seed, some faults more often still."""
        people = max(3, self.people) if theme in CROWDED else self.people
        dense = {"dense": True, "workers": max(2, self.workers), "sweepers": 2, "people": people}
        return replace(self, theme=theme, rates={**self.rates, **THEMES[theme], **rates}, **{**dense, **changes})

    @property
    def stalls(self) -> tuple[int, ...]:
        """For how many milliseconds processes stand still: twice less than jobs are kept."""
        return STALLS_MS[:4] if "ttl" in self.dimensions else STALLS_MS

    def simpler(self) -> list[Self]:
        """Give the scenarios that leave out one thing more."""
        found = [self._with(name, count - 1) for name, count in self._all() if count > LEAST[name]]
        found += [replace(self, rates={k: v for k, v in self.rates.items() if k != fault}) for fault in self.rates]
        found += [self._outside(name) for name in sorted(self.dimensions)]
        return found + [self._with(name, False) for name in FEATURES if getattr(self, name)]

    def _with(self, name: str, value: Any) -> Self:
        return replace(self, **{name: value})

    def options(self) -> str:
        """Give the command line that replays it."""
        drawn = Scenario.of(self.seed)
        words = [f"--seed {self.seed}"]
        words += [f"--{name} {count}" for name, count in self._all() if count != getattr(drawn, name)]
        left_out = sorted(drawn.rates.keys() - self.rates.keys())
        left_out += sorted(drawn.dimensions - self.dimensions)
        left_out += [name for name in FEATURES if getattr(drawn, name) and not getattr(self, name)]
        return " ".join(words + ([f"--without {','.join(left_out)}"] if left_out else []))

    def _all(self) -> list[tuple[str, int]]:
        return [(name, getattr(self, name)) for name in LEAST]

    def without(self, names: list[str]) -> Self:
        """Leave out faults and features by name."""
        known = [*FAULTS, *FEATURES, *DIMENSIONS, *faults_of(frozenset(DIMENSIONS))]
        unknown = set(names) - set(known)
        if unknown:
            raise ValueError(f"unknown faults {sorted(unknown)}; there are {known}")
        switched: dict[str, Any] = {name: False for name in FEATURES if name in names}
        kept = {fault: rate for fault, rate in self.rates.items() if fault not in names}
        found = replace(self, rates=kept, **switched)
        for name in self.dimensions & set(names):
            found = found._outside(name)
        return found

    def _outside(self, name: str) -> Self:
        """Leave out a dimension and the faults that it brings."""
        brought = faults_of(frozenset({name}))
        kept = {fault: rate for fault, rate in self.rates.items() if fault not in brought}
        return replace(self, dimensions=self.dimensions - {name}, rates=kept)


SOON: Final = {"retries": 1, "after_seconds": 15, "factor": 1}


IN_SETTINGS: Final = frozenset({"queues", "ttl", "large", "beside"})
"""The dimensions that change the settings."""


def simulated_settings(listed: bool, brief: bool, dimensions: frozenset[str] = frozenset()) -> Settings:
    """Settings with short times, few tries and small pages: little time has to pass until everything has happened."""
    return _settings(listed, brief, dimensions & IN_SETTINGS)


@cache
def _settings(listed: bool, brief: bool, dimensions: frozenset[str]) -> Settings:
    """Return settings from memory where they were made before: making them takes as long as a whole seed."""
    names = ("default", SECOND) if "queues" in dimensions else ("default",)
    more: dict[str, Any] = {}
    if "ttl" in dimensions:
        days = KEPT_MS / 86_400_000
        more |= {"completed_retention_days": days, "dead_retention_days": days}
    if "large" in dimensions:
        more |= {"bucket": "simulated", "max_payload_bytes": LARGE_BYTES // 2}
    if "beside" in dimensions:
        more |= {"inline_payload_bytes": LARGE_BYTES // 4}
    return Settings(
        queues=tuple(QueueSpec(name=name, soft_limit=15, hard_limit=20, sla_seconds=5) for name in names),
        lease_grace_seconds=10,
        heartbeat_seconds=10,
        worker_dead_after_seconds=40,
        redispatch_min_seconds=20,
        max_dispatches=1 if brief else 2,
        dead_letters={"TRANSIENT": SOON | {"retries": 2}, "CONFIGURATION": SOON},
        idempotency_ttl_seconds=WINDOW_SECONDS if "ttl" in dimensions else 20,
        index_shards=len(names),
        index_completed=listed,
        sweep_page_size=2,
        sweep_pages_per_shard=2,
        **more,
    )
