"""The moves of what outlasts an attempt, broken on purpose: the small worlds must notice each way of breaking them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final
from unittest.mock import patch

from jobclaim.jobs.model import JobStatus
from jobclaim.jobs.protocol import durable, lifecycle
from jobclaim.jobs.repo.running import Running
from jobclaim.jobs.storage import expressions, written
from jobclaim.jobs.transitions import TRANSITIONS, Move
from tests.simulation.lasting.run import ANY, run
from tests.simulation.lasting.world import Focus

MOVES: Final = (Move.STEP, Move.PROGRESS, Move.NOTE, Move.WAIT, Move.RESUME, Move.RESUME_EARLY)
"""Hunted here, and nowhere else."""
IMPLIED: Final = frozenset({(Move.RESUME, "status")})
"""Every move out of a waiting attempt changes ``attempt``: dropped with that guard."""
SEEDS: Final = 1_000
LIKELY: Final[Mapping[str, Focus]] = {
    "resume without attempt": Focus((10, 10, 1, 10, 1), (1, 1, 6, 1, 8), 0.9),
    "resume without dispatches": Focus((1, 4, 10, 10, 1), (1, 1, 10, 1, 1), 0.9),
    "resume-early without claim_token": Focus((8, 8, 1, 10, 8), (1, 1, 1, 1, 12), 0.95),
    "a deadline that was told is not written": Focus((8, 10, 1, 6, 1), (1, 1, 12, 1, 1), 0.2),
}
"""Where a mutant is sought that few seeds of all would meet."""
CAUGHT_BY: Final[Mapping[str, int]] = {
    "progress without status": 23,
    "progress without claim_token": 10,
    "note without status": 11,
    "note without wait_changes": 8,
    "wait without claim_token": 42,
    "wait without wait_changes": 22,
    "resume without attempt": 36,
    "resume without dispatches": 140,
    "resume-early without claim_token": 77,
    "resume-early without wait_changes": 18,
    "a finished step is run again": 12,
    "a resumed job is not due": 150,
    "a deadline that was told is not written": 18,
    "a retry drops what was resumed": 12,
    "every refused resume is a success": 51,
    "every refused early resume is a success": 8,
}
"""Seeds that once caught what is rarely met: tried first, and no more than a hint."""


@contextmanager
def _dropping(move: Move, *names: str) -> Iterator[None]:
    row = TRANSITIONS[move]
    weaker = replace(
        row,
        sources=tuple(JobStatus) if "status" in names else row.sources,
        guards=tuple(guard for guard in row.guards if guard not in names),
    )
    expressions._expressions.cache_clear()
    try:
        with patch.object(expressions, "TRANSITIONS", MappingProxyType({**TRANSITIONS, move: weaker})):
            yield
    finally:
        expressions._expressions.cache_clear()


def _recognising(move: Move, answer: bool) -> AbstractContextManager[Any]:
    rows = MappingProxyType({**TRANSITIONS, move: replace(TRANSITIONS[move], recognises=lambda *_: answer)})
    return patch.object(written, "TRANSITIONS", rows)


def _never_due(job: Any, wait: Any, now: int) -> Any:
    return replace(_resumed(job, wait, now), available_at=job.available_at)


def _forgets(job: Any, step: Any) -> Any:
    return replace(_with_step(job, step), steps=(*job.steps[1:], step), step_count=max(1, job.step_count))


_resumed, _with_step = durable.resumed, durable.with_step

OTHERS: Final[Mapping[str, Callable[[], AbstractContextManager[Any]]]] = {
    "a finished step is run again": lambda: patch.object(Running, "_finished", lambda *_: None),
    "a step pushes another one out": lambda: patch.object(durable, "with_step", _forgets),
    "a resumed job is not due": lambda: patch.object(durable, "resumed", _never_due),
    "a deadline that was told is not written": lambda: patch.object(durable, "timed_out", lambda job, name: job),
    "a retry drops what was resumed": lambda: patch.object(lifecycle, "_waits_of_next_run", lambda job: ()),
    "every refused resume is a success": lambda: _recognising(Move.RESUME, True),
    "every refused early resume is a success": lambda: _recognising(Move.RESUME_EARLY, True),
}


def mutants() -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """Give every way of breaking the code, by name."""
    found: dict[str, Callable[[], AbstractContextManager[Any]]] = {}
    for move in MOVES:
        for name in ("status", *TRANSITIONS[move].guards):
            names = ("status", "attempt") if (move, name) in IMPLIED else (name,)
            found[f"{move} without {' and '.join(names)}"] = lambda move=move, names=names: _dropping(move, *names)  # type: ignore[misc]
    return {**found, **OTHERS}


def hunt(name: str, seeds: int = SEEDS) -> tuple[int, str] | None:
    """Run seeds under a mutant until one breaks a rule; ``None`` where none does."""
    focus, hint = LIKELY.get(name, ANY), [CAUGHT_BY[name]] if name in CAUGHT_BY else []
    with mutants()[name]():
        broken = ((seed, run(seed, focus)) for seed in (*hint, *range(seeds)))
        return next(((seed, rule) for seed, rule in broken if rule), None)
