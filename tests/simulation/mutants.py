"""The code, broken on purpose: the simulation must notice each way of breaking it, or it proves nothing.

For every move of `jobs.transitions` each guard is dropped alone, and the states that it may start from. The states are
belt and braces where a guard implies them: every move out of a waiting attempt changes ``attempt``, and every move out
of an end changes ``submission``. `tests.simulation.reachable` shows that for all histories of a job; such a mutant does
what the code does, so no run can tell them apart. They are in `BACKED` and dropped with the guard behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final
from unittest.mock import patch

import click

import jobclaim.jobs.repo.claiming
import jobclaim.jobs.repo.rescue
import jobclaim.jobs.storage.expressions
import jobclaim.jobs.storage.table
import jobclaim.jobs.storage.written
import jobclaim.recovery.decide
import jobclaim.recovery.handling
from jobclaim.jobs.model import JobStatus
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.transitions import TRANSITIONS, Move, Transition
from jobclaim.settings import Settings
from tests.simulation.caught_by import CAUGHT_BY
from tests.simulation.line import Line
from tests.simulation.run import Outcome, run
from tests.simulation.scenario import Scenario

SOURCES: Final = "status"
BACKED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("cancel", "give-up", "dispatch"), "attempt"),
    **dict.fromkeys(("revive", "resolve", "abandon", "submit", "record", "forget"), "submission"),
    "submit-with-writes": "submission",
}
"""By move, the guard that implies the states that it may start from."""
UNPLAYED: Final = frozenset(
    {
        *(Move.STEP, Move.PROGRESS, Move.NOTE, Move.WAIT, Move.RESUME, Move.RESUME_EARLY),
    }
)
"""Moves that no actor makes. Those of steps, progress and waits are hunted in `tests.simulation.lasting`, the others'
conditions are shown by tests of the contract alone."""
ORPHANS: Final = {"theme": "orphans"}
LETTERS: Final = {"theme": "letters"}
EFFECTS: Final = {"dimensions": frozenset({"effects"})}
LIKELY: Final[Mapping[str, dict[str, Any]]] = {
    **{f"{move} without claim_token": ORPHANS for move in ("complete", "fail", "retry", "release", "stop")},
    "complete-with-effects without claim_token": ORPHANS | EFFECTS,
    "complete-with-effects without status": ORPHANS | EFFECTS,
    "submit-with-writes without submission": LETTERS | EFFECTS,
    "submit-with-writes without status and submission": LETTERS | EFFECTS,
    **{
        f"orphan-{end} without {guard}": ORPHANS
        for end in ("fail", "retry", "stop")
        for guard in ("status", "claim_token")
    },
    **{
        f"{move} without {guard}": LETTERS
        for move in ("revive", "resolve", "abandon")
        for guard in ("status and submission", "submission", "dead_state")
    },
    "orphan-stop without claim_token": {
        "theme": "orphans",
        "people": 4,
        "rates": {"hesitate": 0.1, "late": 0.3, "crash": 0.05},
    },
    "claim without claim_token": {"theme": "orphans", "rates": {"late": 0.3, "stall": 0.01, "hesitate": 0.01}},
    "claim without available_at": {"theme": "orphans", "strangers": True, "far": True},
    "claim without task": {"theme": "orphans", "strangers": True},
    "give-up without attempt": {"theme": "silence", "brief": True},
    "give-up without dispatches": {"theme": "silence", "brief": True},
    "a late heartbeat puts the clock back": {"theme": "heartbeats"},
    "claims go on while heartbeats fail": {"theme": "heartbeats", "rates": {"late-beat": 0.7}},
    "a job is late at its very deadline": {"theme": "people", "ticking": True},
}
"""Where a mutant is sought that few seeds of all would meet: what `Scenario.themed` makes of them."""
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
    for move, transition in TRANSITIONS.items():
        for condition in () if move in UNPLAYED else conditions(transition):
            backed = condition == SOURCES and move in BACKED
            names = tuple(sorted({condition, BACKED[move]} if backed else {condition}))
            name = f"{move} without {' and '.join(names)}"
            dropped[name] = Mutant(name, _Dropping(move, names))
    return [*dropped.values(), *(Mutant(name, apply) for name, apply in OTHERS.items())]


def conditions(transition: Transition) -> list[str]:
    """Name what a move's condition consists of."""
    deadline = [transition.deadline] if transition.deadline else []
    not_before = [transition.not_before] if transition.not_before else []
    return [SOURCES, *transition.guards, *transition.optional, *deadline, *not_before, *transition.fresh]


def hunt(mutant: Mutant, seeds: int = SEEDS) -> Outcome | None:
    """Run seeds until one fails; ``None`` where none does."""
    with mutant.apply():
        numbers = (*([CAUGHT_BY[mutant.name]] if mutant.name in CAUGHT_BY else []), *range(seeds))
        outcomes = (run(scenario) for scenario in _scenarios(mutant, numbers))
        return next((outcome for outcome in outcomes if outcome.rule), None)


def _scenarios(mutant: Mutant, numbers: Iterable[int]) -> Iterator[Scenario]:
    like = LIKELY.get(mutant.name)
    for number in numbers:
        scenario = Scenario.plain(number)
        if like is not None:
            yield scenario.themed(**like)
        elif scenario.dense:
            yield scenario


def hunt_all() -> int:
    """Hunt all mutants and print who was caught by what; give the number that got away."""
    escaped = 0
    for mutant in mutants():
        caught = hunt(mutant)
        escaped += caught is None
        where = f"seed {caught.scenario.seed}: {caught.rule}" if caught else "NOT CAUGHT"
        click.echo(f"{mutant.name:<60} {where}")
    return escaped


def without(transition: Transition, names: Collection[str]) -> Transition:
    """Drop conditions of a transition."""
    return replace(
        transition,
        sources=tuple(JobStatus) if SOURCES in names else transition.sources,
        guards=tuple(guard for guard in transition.guards if guard not in names),
        optional=tuple(guard for guard in transition.optional if guard not in names),
        deadline="" if transition.deadline in names else transition.deadline,
        not_before="" if transition.not_before in names else transition.not_before,
        fresh=tuple(name for name in transition.fresh if name not in names),
    )


class _Dropping:
    """Drops conditions of one move."""

    def __init__(self, move: Move, names: tuple[str, ...]) -> None:
        self._move = move
        self._names = names

    @contextmanager
    def __call__(self) -> Iterator[None]:
        before = TRANSITIONS[self._move]
        weaker = without(before, self._names)
        changed = MappingProxyType({**TRANSITIONS, self._move: weaker})
        jobclaim.jobs.storage.expressions._expressions.cache_clear()
        try:
            with patch.object(jobclaim.jobs.storage.expressions, "TRANSITIONS", changed):
                yield
        finally:
            jobclaim.jobs.storage.expressions._expressions.cache_clear()


def _patched(where: Any, name: str, value: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(where, name, value)


def _recognising(answer: bool) -> Callable[[], AbstractContextManager[Any]]:
    """Let every move recognise every refused write, or none."""
    rows = {move: replace(row, recognises=lambda *_: answer) for move, row in TRANSITIONS.items()}
    return _patched(jobclaim.jobs.storage.written, "TRANSITIONS", MappingProxyType(rows))


def _same_token() -> AbstractContextManager[Any]:
    return patch.object(jobclaim.jobs.repo.claiming, "new_token", lambda: "0123456789abcdef")


def _ended_badly(job: Any, move: Any, status: Any, *rest: Any) -> Any:
    return replace(lifecycle_ended_badly(job, move, status, *rest), attempt=job.attempt)


lifecycle_ended_badly = lifecycle.ended_badly


@contextmanager
def _put_without_condition() -> Iterator[None]:
    from jobclaim.jobs.storage.table import JobTable

    conditional = JobTable._conditional

    def careless(self: JobTable, operation: str, request: dict[str, Any], *rest: Any, **more: Any) -> Any:
        if operation == "put_item":
            request = {name: value for name, value in request.items() if not name.startswith("Condition")}
        return conditional(self, operation, request, *rest, **more)

    with patch.object(JobTable, "_conditional", careless):
        yield


def _uncounted(repo: Any, job: Any) -> Any:
    return lifecycle.dispatched(job, repo.clock())


def _clauses(change: Callable[[str], str]) -> Callable[[], AbstractContextManager[Any]]:
    """Change the text of every condition on a job."""
    right = jobclaim.jobs.storage.expressions._expressions

    def wrong(*given: Any) -> Any:
        expression, condition, names = right(*given)
        return expression, change(condition), names

    return _patched(jobclaim.jobs.storage.expressions, "_expressions", wrong)


def _unchanged(move: Move, *names: str) -> Callable[[], AbstractContextManager[Any]]:
    """Leave attributes out of what a move writes."""
    right = jobclaim.jobs.storage.expressions.update_request

    def wrong(asked: Move, expected: Any, changes: Any) -> Any:
        left = {name: change for name, change in changes.items() if asked is not move or name not in names}
        return right(asked, expected, left)

    return _patched(jobclaim.jobs.storage.table, "update_request", wrong)


def _fleet_without(clause: str) -> Callable[[], AbstractContextManager[Any]]:
    """Drop a clause from the conditions of requests on the fleet table."""
    right = Line._ask

    def ask(self: Line, operation: str, **request: Any) -> Any:
        condition = request.get("ConditionExpression", "")
        if clause in condition:
            request["ConditionExpression"] = condition.replace(clause, "attribute_not_exists(nothing)")
        return right(self, operation, **request)

    return _patched(Line, "_ask", ask)


OTHERS: Final[Mapping[str, Callable[[], AbstractContextManager[Any]]]] = {
    "every refused write is taken for one's own": _recognising(True),
    "no lost answer is recognised": _recognising(False),
    "one claim token for all": _same_token,
    "an ended wait does not pass over its attempt": _patched(lifecycle, "ended_badly", _ended_badly),
    "a job is put over what is there": _put_without_condition,
    "a message is sent that was not counted": _patched(jobclaim.jobs.repo.rescue, "dispatch", _uncounted),
    "a retry by its rule is not counted": _unchanged(Move.REVIVE, "dead_retries"),
    "a retry by its rule is forgotten": _patched(jobclaim.recovery.decide, "is_due", lambda job, now: False),
    "a retry by its rule comes early": _patched(
        jobclaim.recovery.decide, "is_due", lambda job, now: job.dead_state == "SCHEDULED" and job.retry_at > 0
    ),
    "a revived job keeps its name": _unchanged(Move.REVIVE, "submission"),
    "a revived job keeps its expiry": _unchanged(Move.REVIVE, "expires_at"),
    "a job run anew keeps its expiry": _unchanged(Move.SUBMIT, "expires_at"),
    "a settled job is still due": _unchanged(Move.ABANDON, "retry_at", "dead_state"),
    "a claim does not count its attempt": _unchanged(Move.CLAIM, "attempt"),
    "a claim is not charged": _unchanged(Move.CLAIM, "charged"),
    "a claim keeps the old lease": _unchanged(Move.CLAIM, "lease_expires_at"),
    "a claim keeps the old token": _unchanged(Move.CLAIM, "claim_token"),
    "a job without a deadline is late": _clauses(lambda text: text.replace("attribute_not_exists(#start_by) OR ", "")),
    "a job is late at its very deadline": _clauses(lambda text: text.replace("#start_by >= :now", "#start_by > :now")),
    "a late heartbeat puts the clock back": _fleet_without("(attribute_not_exists(#seen_at) OR #seen_at <= :seen_at)"),
    "a worker that is back is buried": _fleet_without("seen_at = :seen_at"),
    "a command is left for nobody": _fleet_without("attribute_exists(#commands)"),
    "claims go on while heartbeats fail": _patched(Settings, "claims_stop_after_seconds", property(lambda _: 3_600)),
    "a lease is over before its time": _patched(
        jobclaim.recovery.handling,
        "decide",
        lambda job, now, figures: jobclaim.recovery.decide.decide(job, now + 25_000, figures),
    ),
    "leases never end": _patched(jobclaim.recovery.decide, "_decide_running", lambda *_: None),
    "lost messages stay lost": _patched(jobclaim.recovery.decide, "_decide_waiting", lambda *_: None),
    "an orphan has attempts without end": _patched(
        jobclaim.recovery.handling,
        "decide",
        lambda job, now, figures: jobclaim.recovery.decide.decide(replace(job, max_attempts=99), now, figures),
    ),
    "a completed job answers nobody": _patched(lifecycle, "answers_duplicate", lambda job, now: job.status.is_open),
    "equal submissions are never answered": _patched(lifecycle, "answers_duplicate", lambda job, now: False),
    "a result is kept though its job was tried again": _patched(
        jobclaim.jobs.repo.JobRepo, "_claim_on", lambda self, job_id, wanted, token: self.get_job(job_id)
    ),
}
