"""The plan of a run: its calls and its schedule of faults, drawn from a seed by pure functions.

Faults come in rounds. A round has every kind once, in random order, so that even the shortest run has all kinds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class FaultKind(StrEnum):
    """Kinds of faults."""

    KILL_CHILD = "kill -9 of a child"
    KILL_WORKER = "kill -9 of a worker"
    KILL_RECOVERY = "kill -9 of recovery and beat"
    FREEZE_UNTIL_LOST = "worker frozen until it counts as lost"
    FREEZE_WORKER = "worker frozen past its lease"
    FREEZE_CHILD = "child frozen past its limit"
    DEPLOY = "deploy: SIGTERM and a replacement"
    DEPLOY_RECOVERY = "deploy of recovery and beat"
    LOSE_MESSAGES = "messages lost"
    COPY_MESSAGES = "messages copied"
    OLD_MESSAGES = "old messages replayed"
    FORGE_MESSAGES = "messages of another task forged"
    EARLY_MESSAGES = "messages long before their time forged"
    TABLE_OUTAGE = "DynamoDB unreachable"
    TABLE_ERRORS = "DynamoDB answers 500"
    TABLE_UNAVAILABLE = "DynamoDB answers 503"
    TABLE_THROTTLED = "DynamoDB throttles"
    TABLE_RESETS = "DynamoDB resets connections"
    TABLE_RESPONSES_LOST = "DynamoDB writes, its response is lost"
    TABLE_SILENT = "DynamoDB does not answer"
    QUEUE_OUTAGE = "SQS unreachable"
    QUEUE_ERRORS = "SQS answers 500"
    QUEUE_UNAVAILABLE = "SQS answers 503"
    QUEUE_THROTTLED = "SQS throttles"
    QUEUE_RESETS = "SQS resets connections"
    QUEUE_RESPONSES_LOST = "SQS acts, its response is lost"
    QUEUE_SILENT = "SQS does not answer"


FREEZES: Final = (FaultKind.FREEZE_WORKER, FaultKind.FREEZE_CHILD, FaultKind.FREEZE_UNTIL_LOST)
OUTAGES: Final = (FaultKind.TABLE_OUTAGE, FaultKind.QUEUE_OUTAGE)
SILENCES: Final = (FaultKind.TABLE_SILENT, FaultKind.QUEUE_SILENT)
MESSAGE_FAULTS: Final = (
    FaultKind.LOSE_MESSAGES,
    FaultKind.COPY_MESSAGES,
    FaultKind.OLD_MESSAGES,
    FaultKind.FORGE_MESSAGES,
)
INSTANT: Final = (
    FaultKind.KILL_CHILD,
    FaultKind.KILL_WORKER,
    FaultKind.KILL_RECOVERY,
    FaultKind.DEPLOY,
    FaultKind.DEPLOY_RECOVERY,
)


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
    longest_fault : float
    workers, processes : int
    drain : float
        Bound on the time from the last fault to the end of the last job.
    """

    hard_limit: int
    grace: int
    heartbeat: int
    dead_after: int
    redispatch: int
    longest_fault: float
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
class ScheduledFault:
    """One fault and its time.

    Attributes
    ----------
    at, seconds : float
        When it begins, from the start, and how long it lasts; 0 for a moment.
    share : float
        Share of the requests that it affects.
    target : float
        From 0 to 1: selects one of the possible targets.
    """

    at: float
    kind: FaultKind
    seconds: float = 0.0
    share: float = 0.0
    target: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A run's calls and faults, in the order of their times."""

    seed: int
    calls: tuple[Call, ...]
    schedule: tuple[ScheduledFault, ...]
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


def draw_plan(seed: int, *, seconds: float, jobs: int, scale: Scale, interval: float | None = None) -> Plan:
    """Draw a plan at random.

    Parameters
    ----------
    seconds : float
        Duration of the calls and faults.
    jobs : int
        Jobs that the calls make, equal calls counted once.
    interval : float, optional
        Seconds between two faults; default as many as fit one round, 5 at most.
    """
    rng = random.Random(seed)
    calls = sorted(_calls(rng, seconds, jobs, _weights(scale)), key=lambda call: call.at)
    gap = interval or min(5.0, 0.9 * seconds / len(FaultKind))
    return Plan(seed, tuple(calls), tuple(_schedule(rng, seconds, gap, scale)), jobs)


CHORD_RECHECK_SECONDS: Final = 600
"""A chord whose wake is lost looks at its members by itself within that time: shorter drains have no chords."""
LONG_BODIES: Final = ("slow", "fragile", "limited")


def _weights(scale: Scale) -> dict[str, int]:
    return {name: weight for name, weight in WEIGHTS.items() if name != "chord" or scale.drain > CHORD_RECHECK_SECONDS}


def _calls(rng: random.Random, seconds: float, jobs: int, kinds: Mapping[str, int]) -> Iterator[Call]:
    number = made = 0
    names, weights = list(kinds), list(kinds.values())
    while made < jobs:
        task = rng.choices(names, weights)[0] if made <= jobs - BATCH else "quick"
        at, number = rng.uniform(0, seconds), number + BATCH
        if task == "later" and at + LATER_SECONDS < seconds + CANCELLED_WITHIN_SECONDS:
            task = "timed"
        made += JOBS.get(task, 1)
        if task == "once":
            yield from _equal_calls(rng, at, number, seconds)
            continue
        body = rng.uniform(0.5, 2.5) if task in LONG_BODIES else rng.uniform(0, 0.02)
        fails = {"flaky": rng.randint(1, 2), "doomed": 1_000}.get(task, 0)
        countdown = {"timed": round(rng.uniform(1, 6), 1), "later": LATER_SECONDS}.get(task, 0.0)
        expires = round(rng.uniform(2, 6), 1) if task == "expiring" else 0.0
        yield Call(at, task, number, round(body, 3), fails, countdown, expires)


def _equal_calls(rng: random.Random, at: float, number: int, seconds: float) -> Iterator[Call]:
    """Yield the same call several times: at once, while its job runs, and long after."""
    body = round(rng.uniform(0, 0.5), 3)
    for wait in (
        0.0,
        *(rng.choice((0.0, rng.uniform(0, 2), rng.uniform(5, 60))) for _ in range(rng.randint(1, 3))),
    ):
        yield Call(min(at + wait, seconds), "once", number, body)


def _schedule(rng: random.Random, seconds: float, gap: float, scale: Scale) -> Iterator[ScheduledFault]:
    at = gap
    while at < seconds:
        kinds = list(FaultKind)
        rng.shuffle(kinds)
        if at == gap:
            # freezes first: they last long, and a short run must see their end, too
            kinds.sort(key=lambda kind: kind not in FREEZES)
        for kind in kinds:
            if at < seconds:
                yield ScheduledFault(round(at, 3), kind, *_duration_and_share(rng, kind, scale), target=rng.random())
            at += gap * rng.uniform(0.8, 1.2)


def _duration_and_share(rng: random.Random, kind: FaultKind, scale: Scale) -> tuple[float, float]:
    """Return how long a fault lasts, and which share of the requests it affects."""
    if kind in INSTANT:
        return 0.0, 0.0
    if kind is FaultKind.FREEZE_UNTIL_LOST:
        return scale.dead_after + rng.uniform(3.5, 5.5), 0.0
    if kind in FREEZES:
        return scale.lease + rng.uniform(1, 3), 0.0
    if kind is FaultKind.EARLY_MESSAGES:
        return 4 * scale.longest_fault, 1.0  # only the few delayed messages can come early
    if kind in MESSAGE_FAULTS:
        # longer than other faults: there are fewer messages than requests
        return 2 * scale.longest_fault, rng.uniform(0.5, 1.0)
    seconds = rng.uniform(0.4, 1.0) * scale.longest_fault
    if kind in OUTAGES:
        return seconds, 1.0
    if kind in SILENCES:
        return seconds, rng.uniform(0.05, 0.3)  # each costs its caller a whole timeout
    return seconds, rng.uniform(0.2, 0.8)
