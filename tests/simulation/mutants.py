"""The code, broken on purpose: the simulation must notice each way of breaking it, or it proves nothing.

For every move of `jobs.transitions` each guard is dropped, and the states that it may start from. Some conditions are
belt and braces: as long as the others of the same move hold, no order of events can break them, because every move out
of a state changes ``attempt`` or ``finished_at`` as well. Those are in `BACKED` with the conditions that stand behind
them, and they are dropped together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final
from unittest.mock import patch

import click

import jobs.expressions
import jobs.repo
import recovery.decide
import recovery.settle
from jobs import lifecycle
from jobs.model import JobStatus
from jobs.transitions import TRANSITIONS, Move, Transition
from tests.simulation.run import Outcome, run
from tests.simulation.scenario import Scenario

SOURCES: Final = "status"
BACKED: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    **{(move, SOURCES): ("attempt",) for move in ("cancel", "give-up", "dispatch")},
    **{(move, SOURCES): ("finished_at",) for move in ("revive", "resubmit", "record", "forget")},
    **{(move, "attempt"): ("finished_at",) for move in ("revive", "resubmit", "record", "forget")},
    ("revive", "finished_at"): ("attempt",),
    ("give-up", "attempt"): ("dispatches",),  # but for a later attempt with as many dispatches
}
CAUGHT_BY: Final[Mapping[str, int]] = {
    "a result is kept though its job was tried again": 117,
    "an orphan has attempts without end": 158,
    "complete without claim_token": 590,
    "fail without claim_token": 10434,
    "fail without status": 117,
    "forget without attempt and finished_at": 324,
    "forget without finished_at": 324,
    "give-up without attempt and status": 769,
    "give-up without dispatches": 1210,
    "is_mine always false": 158,
    "leases never end": 77,
    "orphan-fail without claim_token": 2396,
    "orphan-retry without claim_token": 2300,
    "orphan-retry without status": 757,
    "record without finished_at": 324,
    "record without finished_at and status": 62,
    "release without claim_token": 3416,
    "resubmit without attempt and finished_at": 62,
    "resubmit without finished_at": 62,
    "retry without claim_token": 887,
    "retry without status": 192,
    "revive without attempt and finished_at": 6571,
    "revive without finished_at and status": 1478,
    "stop without claim_token": 974,
    "stop without status": 83,
}
"""Seeds that once caught what is rarely met: tried first, so that the list takes seconds, and no more than a hint."""
UNPLAYED: Final = ("resolve", "abandon")
"""Moves that nobody in the simulation makes, and the guard that only they need: tests of their own prove them."""
UNPLAYED_GUARD: Final = "dead_state"
SEEDS: Final = 4_000
"""Seeds after which a mutant counts as not caught."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way of breaking the code; ``apply`` does so while its context lasts."""

    name: str
    apply: Callable[[], AbstractContextManager[Any]]


def mutants() -> list[Mutant]:
    """Give the whole list."""
    dropped: dict[str, Mutant] = {}
    played = {move: transition for move, transition in TRANSITIONS.items() if move not in UNPLAYED}
    for move, transition in played.items():
        for condition in conditions(transition):
            names = tuple(sorted({condition, *BACKED.get((str(move), condition), ())}))
            name = f"{move} without {' and '.join(names)}"
            dropped[name] = Mutant(name, _Dropping(move, names))
    return [*dropped.values(), *(Mutant(name, apply) for name, apply in OTHERS.items())]


def conditions(transition: Transition) -> list[str]:
    """Name what a move's condition consists of."""
    guards = [guard for guard in (*transition.guards, *transition.optional) if guard != UNPLAYED_GUARD]
    return [SOURCES, *guards, *([transition.deadline] if transition.deadline else [])]


def hunt(mutant: Mutant, seeds: int = SEEDS) -> Outcome | None:
    """Run seeds until one fails; ``None`` where none does."""
    with mutant.apply():
        numbers = (*([CAUGHT_BY[mutant.name]] if mutant.name in CAUGHT_BY else []), *range(seeds))
        scenarios = (scenario for scenario in map(Scenario.of, numbers) if scenario.dense)
        outcomes = (run(scenario) for scenario in scenarios)
        return next((outcome for outcome in outcomes if outcome.rule), None)


def hunt_all() -> int:
    """Hunt all mutants and print who was caught by what; give the number that got away."""
    escaped = 0
    for mutant in mutants():
        caught = hunt(mutant)
        escaped += caught is None
        where = f"seed {caught.scenario.seed}: {caught.rule}" if caught else "NOT CAUGHT"
        click.echo(f"{mutant.name:<60} {where}")
    return escaped


class _Dropping:
    """Drops conditions of one move."""

    def __init__(self, move: Move, names: tuple[str, ...]) -> None:
        self._move = move
        self._names = names

    @contextmanager
    def __call__(self) -> Iterator[None]:
        before = TRANSITIONS[self._move]
        names = {*self._names, UNPLAYED_GUARD}
        weaker = replace(
            before,
            sources=tuple(JobStatus) if SOURCES in names else before.sources,
            guards=tuple(guard for guard in before.guards if guard not in names),
            optional=tuple(guard for guard in before.optional if guard not in names),
            deadline="" if before.deadline in names else before.deadline,
        )
        changed = MappingProxyType({**TRANSITIONS, self._move: weaker})
        jobs.expressions._expressions.cache_clear()
        try:
            with patch.object(jobs.expressions, "TRANSITIONS", changed):
                yield
        finally:
            jobs.expressions._expressions.cache_clear()


def _patched(where: Any, name: str, value: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(where, name, value)


def _same_token() -> AbstractContextManager[Any]:
    return patch.object(jobs.repo, "new_token", lambda: "0123456789abcdef")


def _ended_badly(job: Any, move: Any, status: Any, *rest: Any) -> Any:
    return replace(lifecycle_ended_badly(job, move, status, *rest), attempt=job.attempt)


lifecycle_ended_badly = lifecycle.ended_badly


@contextmanager
def _put_without_condition() -> Iterator[None]:
    from jobs.table import JobTable

    conditional = JobTable._conditional

    def careless(self: JobTable, operation: str, request: dict[str, Any], until: int | None = None) -> Any:
        if operation == "put_item":
            request = {name: value for name, value in request.items() if not name.startswith("Condition")}
        return conditional(self, operation, request, until)

    with patch.object(JobTable, "_conditional", careless):
        yield


OTHERS: Final[Mapping[str, Callable[[], AbstractContextManager[Any]]]] = {
    "is_mine always true": _patched(lifecycle, "is_mine", lambda *_: True),
    "is_mine always false": _patched(lifecycle, "is_mine", lambda *_: False),
    "one claim token for all": _same_token,
    "an ended wait does not pass over its attempt": _patched(lifecycle, "ended_badly", _ended_badly),
    "a job is put over what is there": _put_without_condition,
    "a lease is over before its time": _patched(
        recovery.settle, "decide", lambda job, now, figures: recovery.decide.decide(job, now + 25_000, figures)
    ),
    "leases never end": _patched(recovery.decide, "_decide_running", lambda *_: None),
    "lost messages stay lost": _patched(recovery.decide, "_decide_waiting", lambda *_: None),
    "an orphan has attempts without end": _patched(
        recovery.settle,
        "decide",
        lambda job, now, figures: recovery.decide.decide(replace(job, max_attempts=99), now, figures),
    ),
    "a completed job answers nobody": _patched(lifecycle, "answers_duplicate", lambda job, now: job.status.is_open),
    "equal submissions are never answered": _patched(lifecycle, "answers_duplicate", lambda job, now: False),
    "a result is kept though its job was tried again": _patched(
        jobs.repo.JobRepo, "_claim_on", lambda self, job_id, wanted, token: self.get_job(job_id)
    ),
}
