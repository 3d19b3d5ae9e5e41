"""The plan of a run: its calls and its strikes, drawn from a seed by pure functions.

Strikes come in rounds. A round has every kind once, in random order, so that even the shortest run has all kinds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """Kinds of faults."""

    KILL_CHILD = "kill -9 of a child"
    KILL_WORKER = "kill -9 of a worker"
    KILL_RECOVERY = "kill -9 of recovery and beat"
    MAKE_ZOMBIE = "worker frozen until it is taken for dead"
    FREEZE_WORKER = "worker frozen past its lease"
    FREEZE_CHILD = "child frozen past its limit"
    DEPLOY = "deploy: SIGTERM and a replacement"
    DEPLOY_RECOVERY = "deploy of recovery and beat"
    LOSE_MESSAGES = "messages lost"
    COPY_MESSAGES = "messages copied"
    OLD_MESSAGES = "old messages sent again"
    FORGE_MESSAGES = "messages of another task forged"
    EARLY_MESSAGES = "messages long before their time forged"
    TABLE_OUTAGE = "DynamoDB gone"
    TABLE_ERRORS = "DynamoDB answers 500"
    TABLE_UNAVAILABLE = "DynamoDB answers 503"
    TABLE_THROTTLED = "DynamoDB throttles"
    TABLE_RESETS = "DynamoDB resets connections"
    TABLE_ANSWERS_LOST = "DynamoDB writes, its answer is lost"
    TABLE_SILENT = "DynamoDB does not answer"
    QUEUE_OUTAGE = "SQS gone"
    QUEUE_ERRORS = "SQS answers 500"
    QUEUE_UNAVAILABLE = "SQS answers 503"
    QUEUE_THROTTLED = "SQS throttles"
    QUEUE_RESETS = "SQS resets connections"
    QUEUE_ANSWERS_LOST = "SQS acts, its answer is lost"
    QUEUE_SILENT = "SQS does not answer"


FREEZES: Final = (Kind.FREEZE_WORKER, Kind.FREEZE_CHILD, Kind.MAKE_ZOMBIE)
OUTAGES: Final = (Kind.TABLE_OUTAGE, Kind.QUEUE_OUTAGE)
SILENCES: Final = (Kind.TABLE_SILENT, Kind.QUEUE_SILENT)
OF_MESSAGES: Final = (Kind.LOSE_MESSAGES, Kind.COPY_MESSAGES, Kind.OLD_MESSAGES, Kind.FORGE_MESSAGES)
MOMENTARY: Final = (Kind.KILL_CHILD, Kind.KILL_WORKER, Kind.KILL_RECOVERY, Kind.DEPLOY, Kind.DEPLOY_RECOVERY)


@dataclass(frozen=True, slots=True)
class Scale:
    """How long things take in a run, seconds; its deployment's limits follow from it.

    Attributes
    ----------
    hard_limit, grace : int
        A lease is as long as both together.
    heartbeat, dead_after : int
        Silence after which a worker counts as lost. It is less than the hard limit: when a frozen worker wakes up after
        it, its body continues although the job has another attempt by then.
    redispatch : int
        Wait before an unclaimed message is sent again.
    longest_storm : float
    workers, processes : int
    drain : float
        Bound on the time from the last strike to the end of the last job.
    """

    hard_limit: int
    grace: int
    heartbeat: int
    dead_after: int
    redispatch: int
    longest_storm: float
    workers: int
    processes: int
    drain: float

    @property
    def lease(self) -> int:
        """Seconds that a claim lasts."""
        return self.hard_limit + self.grace


LONG: Final = Scale(16, 3, 2, 8, 10, 6.0, workers=5, processes=3, drain=900)
SHORT: Final = Scale(12, 2, 1, 4, 4, 2.0, workers=3, processes=2, drain=90)


@dataclass(frozen=True, slots=True)
class Call:
    """One submission.

    Attributes
    ----------
    at : float
        Seconds from the start.
    task : str
        Name without ``verify.``; "chain" for two jobs, the second of which follows the first; "chord" for two and one
        that follows both; "batch" for `BATCH` quick ones that are submitted together; "timed", "expiring" and "later"
        for quick ones with a time.
    number : int
        Argument, from which the result follows; equal calls have the same, those of a batch count on from it.
    seconds : float
        How long its body takes.
    fails : int
        Attempts that its body fails by itself.
    countdown, expires : float
        Seconds from its submission before which, and after which, it must not start; 0 for none.
    """

    at: float
    task: str
    number: int
    seconds: float = 0.0
    fails: int = 0
    countdown: float = 0.0
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault.

    Attributes
    ----------
    at, seconds : float
        When it begins, from the start, and how long it lasts; 0 for a moment.
    share : float
        Share of the requests that it hits.
    draw : float
        From 0 to 1: selects one of the possible targets.
    """

    at: float
    kind: Kind
    seconds: float = 0.0
    share: float = 0.0
    draw: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A run's calls and strikes, in the order of their times."""

    seed: int
    calls: tuple[Call, ...]
    strikes: tuple[Strike, ...]
    jobs: int


WEIGHTS: Final = {
    "quick": 34,
    "slow": 8,
    "fragile": 10,
    "flaky": 8,
    "doomed": 2,
    "once": 8,
    "chain": 5,
    "chord": 3,
    "batch": 2,
    "plain": 7,
    "limited": 4,
    "timed": 4,
    "expiring": 3,
    "later": 2,
}
"""Of the kinds of calls in a hundred."""
LATER_SECONDS: Final = 880.0
"""How far ahead jobs are that no run waits for: their messages are kept back in SQS, and they are cancelled.

None is submitted so early that it would be due before that."""
CANCELLED_WITHIN_SECONDS: Final = 300.0
"""Of the end of the faults."""
BATCH: Final = 10
JOBS: Final = {"chain": 2, "chord": 3, "batch": BATCH}
"""Jobs that a call makes, where it is not one."""


def draw(seed: int, *, seconds: float, jobs: int, scale: Scale, every: float | None = None) -> Plan:
    """Draw a plan at random.

    Parameters
    ----------
    seconds : float
        Duration of the calls and strikes.
    jobs : int
        Jobs that the calls make, equal calls counted once.
    every : float, optional
        Seconds between two strikes; default as many as fit one round, 5 at most.
    """
    dice = random.Random(seed)
    calls = sorted(_calls(dice, seconds, jobs, _weights(scale)), key=lambda call: call.at)
    gap = every or min(5.0, 0.9 * seconds / len(Kind))
    return Plan(seed, tuple(calls), tuple(_strikes(dice, seconds, gap, scale)), jobs)


CHORD_LOOKS_SECONDS: Final = 600
"""A chord whose wake is lost looks at its members by itself within that time: shorter drains have no chords."""
LONG_BODIES: Final = ("slow", "fragile", "limited")


def _weights(scale: Scale) -> dict[str, int]:
    return {name: weight for name, weight in WEIGHTS.items() if name != "chord" or scale.drain > CHORD_LOOKS_SECONDS}


def _calls(dice: random.Random, seconds: float, jobs: int, kinds: Mapping[str, int]) -> Iterator[Call]:
    number = made = 0
    names, weights = list(kinds), list(kinds.values())
    while made < jobs:
        task = dice.choices(names, weights)[0] if made <= jobs - BATCH else "quick"
        at, number = dice.uniform(0, seconds), number + BATCH
        if task == "later" and at + LATER_SECONDS < seconds + CANCELLED_WITHIN_SECONDS:
            task = "timed"
        made += JOBS.get(task, 1)
        if task == "once":
            yield from _equal_calls(dice, at, number, seconds)
            continue
        body = dice.uniform(0.5, 2.5) if task in LONG_BODIES else dice.uniform(0, 0.02)
        fails = {"flaky": dice.randint(1, 2), "doomed": 1_000}.get(task, 0)
        countdown = {"timed": round(dice.uniform(1, 6), 1), "later": LATER_SECONDS}.get(task, 0.0)
        expires = round(dice.uniform(2, 6), 1) if task == "expiring" else 0.0
        yield Call(at, task, number, round(body, 3), fails, countdown, expires)


def _equal_calls(dice: random.Random, at: float, number: int, seconds: float) -> Iterator[Call]:
    """Yield the same call several times: at once, while its job runs, and long after."""
    body = round(dice.uniform(0, 0.5), 3)
    for wait in (
        0.0,
        *(dice.choice((0.0, dice.uniform(0, 2), dice.uniform(5, 60))) for _ in range(dice.randint(1, 3))),
    ):
        yield Call(min(at + wait, seconds), "once", number, body)


def _strikes(dice: random.Random, seconds: float, gap: float, scale: Scale) -> Iterator[Strike]:
    at = gap
    while at < seconds:
        deck = list(Kind)
        dice.shuffle(deck)
        if at == gap:
            # freezes first: they last long, and a short run must see their end, too
            deck.sort(key=lambda kind: kind not in FREEZES)
        for kind in deck:
            if at < seconds:
                yield Strike(round(at, 3), kind, *_force(dice, kind, scale), draw=dice.random())
            at += gap * dice.uniform(0.8, 1.2)


def _force(dice: random.Random, kind: Kind, scale: Scale) -> tuple[float, float]:
    """Return how long a strike lasts, and which share of the requests it hits."""
    if kind in MOMENTARY:
        return 0.0, 0.0
    if kind is Kind.MAKE_ZOMBIE:
        return scale.dead_after + dice.uniform(3.5, 5.5), 0.0
    if kind in FREEZES:
        return scale.lease + dice.uniform(1, 3), 0.0
    if kind is Kind.EARLY_MESSAGES:
        return 4 * scale.longest_storm, 1.0  # only the few delayed messages can come early
    if kind in OF_MESSAGES:
        # longer than other faults: there are fewer messages than requests
        return 2 * scale.longest_storm, dice.uniform(0.5, 1.0)
    seconds = dice.uniform(0.4, 1.0) * scale.longest_storm
    if kind in OUTAGES:
        return seconds, 1.0
    if kind in SILENCES:
        return seconds, dice.uniform(0.05, 0.3)  # each costs its caller a whole timeout
    return seconds, dice.uniform(0.2, 0.8)
