"""All histories of one job, walked one by one: which conditions of a move are implied by its others.

Time stands still in them, so all times are equal, which is the worst case; what tells two states apart is only what a
move counts up or draws anew. A mover reads a state in which its move is allowed, any number of moves happen, then its
write arrives. A condition is implied if no such write is refused by it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.protocol.lifecycle import Retention
from jobclaim.jobs.transitions import TRANSITIONS, Move, Transition, as_read
from tests.simulation.mutants import SOURCES, without

NOW: Final = 1
MOST: Final = {"attempt": 3, "dispatches": 2}
MOST_RUNS: Final = 3
WAITS = Retention(1, 1)
RETRIES = Retention(1, 1, lambda _job, _kind: 1.0)
NEW: Final = Job(
    job_id="j", task="t", queue="q", status=JobStatus.PENDING, submission="1", dispatches=1, dispatched_at=NOW
)

Effect = Callable[[Job], Job]


def _ends(move: Move, status: JobStatus, then: Retention = WAITS) -> Effect:
    return lambda job: lifecycle.ended_badly(job, move, status, None, NOW, then)


def _opens(move: Move) -> Effect:
    return lambda job: lifecycle.pending_again(job, move, None, NOW, NOW, charge=True)


def _settles(move: Move) -> Effect:
    return lambda job: lifecycle.concluded(job, move, NOW, WAITS, by="", why="")


EFFECTS: Final[Mapping[Move, tuple[Effect, ...]]] = {
    Move.CLAIM: (
        lambda job: replace(job, status=JobStatus.PROCESSING, attempt=job.attempt + 1, claim_token=f"{job.attempt}"),
    ),
    **{
        move: (lambda job: lifecycle.completed(job, None, NOW, WAITS),)
        for move in (Move.COMPLETE, Move.COMPLETE_WITH_EFFECTS)
    },
    **{
        move: (_ends(move, JobStatus.FAILED), _ends(move, JobStatus.FAILED, RETRIES))
        for move in (Move.FAIL, Move.ORPHAN_FAIL, Move.GIVE_UP)
    },
    **{move: (_ends(move, JobStatus.CANCELLED),) for move in (Move.STOP, Move.ORPHAN_STOP, Move.CANCEL)},
    **{move: (_opens(move),) for move in (Move.RETRY, Move.RELEASE, Move.ORPHAN_RETRY)},
    Move.REVIVE: (lambda job: lifecycle.revived(job, NOW, NOW), lambda job: lifecycle.revived_by_rule(job, NOW)),
    **{move: (_settles(move),) for move in (Move.RESOLVE, Move.ABANDON)},
    **{
        move: (lambda job: lifecycle.resubmitted(job, replace(NEW, submission="")),)
        for move in (Move.SUBMIT, Move.SUBMIT_WITH_WRITES)
    },
    Move.DISPATCH: (lambda job: lifecycle.dispatched(job, NOW),),
    Move.RECORD: (
        lambda job: lifecycle.resubmitted(job, lifecycle.completed(replace(NEW, submission=""), None, NOW, WAITS)),
    ),
    Move.FORGET: (lifecycle.forgotten,),
}
"""What each move makes of a job, in every way that it can."""


def implied() -> set[tuple[Move, str]]:
    """Give the conditions that are implied by the other ones of their move."""
    return {
        (move, name)
        for move, transition in _played()
        for name in (SOURCES, *transition.guards, *transition.optional)
        if not any(_tells(transition, known, name) for known in _known(transition, name))
    }


def _known(transition: Transition, name: str) -> Iterator[tuple[str, ...]]:
    """Guards whose values a mover knows: all, or without the optional ones."""
    yield (*transition.guards, *transition.optional)
    if transition.optional and name not in transition.optional:
        yield transition.guards


def _tells(transition: Transition, known: tuple[str, ...], name: str) -> bool:
    """Whether a condition refuses a write that all the others let pass."""
    weaker = without(transition, {name})
    left = [guard for guard in known if guard != name]
    return any(
        _holds(weaker, left, read, stored) and not _holds(transition, known, read, stored)
        for read in reachable(NEW)
        if read.status in transition.sources
        for stored in reachable(read)
    )


def _holds(transition: Transition, guards: list[str] | tuple[str, ...], read: Job, stored: Job) -> bool:
    same = all(_value(read, guard) == _value(stored, guard) for guard in guards)
    return same and stored.status in transition.sources


def _value(job: Job, guard: str) -> object:
    """What a guard compares; a job's task is one, though no move changes it."""
    return as_read(job)[guard] if guard in as_read(job) else getattr(job, guard)


@lru_cache(maxsize=4096)
def reachable(start: Job) -> frozenset[Job]:
    """Give the states that a job can come to, the first one included."""
    found, due = {start}, [start]
    while due:
        more = set(_after(due.pop())) - found
        found |= more
        due += more
    return frozenset(found)


@lru_cache(maxsize=4096)
def _after(job: Job) -> tuple[Job, ...]:
    states = (
        _named(job, effect(job))
        for move, transition in _played()
        if job.status in transition.sources
        for effect in EFFECTS[move]
    )
    return tuple(state for state in states if _is_small(state))


def _played() -> Iterator[tuple[Move, Transition]]:
    return ((move, TRANSITIONS[move]) for move in EFFECTS)


def _named(before: Job, after: Job) -> Job:
    """Keep what conditions speak of, and number the runs instead of naming them at random."""
    run = before.submission if after.submission == before.submission else str(int(before.submission) + 1)
    return replace(
        NEW,
        status=after.status,
        submission=run,
        attempt=after.attempt,
        dispatches=after.dispatches,
        dead_state=after.dead_state,
        claim_token=after.claim_token,
    )


def _is_small(job: Job) -> bool:
    return all(getattr(job, name) <= most for name, most in MOST.items()) and int(job.submission) <= MOST_RUNS
