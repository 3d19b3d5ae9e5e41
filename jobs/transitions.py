"""Every legal move of a job, and the condition under which DynamoDB lets it happen.

::

    (none) ──create──▶ PENDING ──claim──▶ PROCESSING ──complete──▶ COMPLETED
                       │  │  ▲            │ │ │
                       │  │  └── retry ───┘ │ ├── fail ─────────▶ FAILED
                       │  │      release    │ └── orphan-fail ──▶ FAILED
                       │  │      orphan-    │
                       │  │      retry      └──── stop ─────────▶ CANCELLED
                       │  └───── give-up ───────────────────────▶ FAILED
                       └──────── cancel ────────────────────────▶ CANCELLED

    FAILED ──revive──▶ PENDING            a person, or the dead-letter policy
    FAILED ──resolve, abandon──▶ FAILED   a person: nothing is left to do, or nobody wants it
    COMPLETED, FAILED, CANCELLED ──resubmit──▶ PENDING     an equal submission, its window over
    (none), COMPLETED, FAILED, CANCELLED ──record──▶ COMPLETED     a result of work that was done outside any job
    COMPLETED ──forget──▶ COMPLETED       it no longer answers equal submissions
    PENDING ──dispatch──▶ PENDING         recovery counts the message that it is about to send

A claim's ends are held to the claim's token, what happens to a waiting job to its attempt, and what follows an end to
the submission that it ended: each run has one of its own, drawn at random, while times of two ends can be equal.

This table is the only source of condition expressions on ``status``; nothing else writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from jobclaim.jobs.model import JobStatus


class Move(StrEnum):
    """Names of the moves; they appear in the history and in logs."""

    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    RELEASE = "release"
    STOP = "stop"
    ORPHAN_FAIL = "orphan-fail"
    ORPHAN_RETRY = "orphan-retry"
    CANCEL = "cancel"
    GIVE_UP = "give-up"
    REVIVE = "revive"
    RESOLVE = "resolve"
    ABANDON = "abandon"
    RESUBMIT = "resubmit"
    DISPATCH = "dispatch"
    RECORD = "record"
    FORGET = "forget"


class Actor(StrEnum):
    """Who may make a move."""

    SUBMITTER = "submitter"
    WORKER = "worker"
    OWNER = "the claim's owner"
    RECOVERY = "recovery"
    PERSON = "people and recovery"


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the table.

    Attributes
    ----------
    sources : tuple of JobStatus
        States the job may be in.
    target : JobStatus
    guards : tuple of str
        Attributes that must still hold the value the mover knows: ``claim_token`` fences by the claim, the others by
        what was read.
    optional : tuple of str
        Guards that apply only where the mover knows a value.
    deadline : str
        Attribute that, where it is stored, must not be before the mover's ``now``, where the mover tells one.
    fresh : tuple of str
        Attributes that the move must write anew: a request that comes a second time, late, is refused.
    """

    sources: tuple[JobStatus, ...]
    target: JobStatus
    actor: Actor
    guards: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    deadline: str = ""
    fresh: tuple[str, ...] = ()

    def expected(self, known: Mapping[str, str | int]) -> dict[str, str | int]:
        """Pick the guards' values out of what the mover knows; a required one missing is a programming error."""
        missing = [guard for guard in self.guards if guard not in known]
        if missing:
            raise KeyError(f"the move to {self.target} needs {missing} as last read")
        return {guard: known[guard] for guard in (*self.guards, *self.optional) if guard in known}


_P, _R = JobStatus.PENDING, JobStatus.PROCESSING
_C, _F, _X = JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED

TRANSITIONS: Final[Mapping[Move, Transition]] = MappingProxyType(
    {
        Move.CLAIM: Transition(
            (_P,), _R, Actor.WORKER, optional=("attempt",), deadline="start_by", fresh=("claim_token",)
        ),
        Move.COMPLETE: Transition((_R,), _C, Actor.OWNER, ("claim_token",)),
        Move.FAIL: Transition((_R,), _F, Actor.OWNER, ("claim_token",)),
        Move.RETRY: Transition((_R,), _P, Actor.OWNER, ("claim_token",)),
        Move.RELEASE: Transition((_R,), _P, Actor.OWNER, ("claim_token",)),
        Move.STOP: Transition((_R,), _X, Actor.OWNER, ("claim_token",)),
        Move.ORPHAN_FAIL: Transition((_R,), _F, Actor.RECOVERY, ("claim_token",)),
        Move.ORPHAN_RETRY: Transition((_R,), _P, Actor.RECOVERY, ("claim_token",)),
        Move.CANCEL: Transition((_P,), _X, Actor.PERSON, ("attempt",)),
        Move.GIVE_UP: Transition((_P,), _F, Actor.RECOVERY, ("attempt", "dispatches")),
        Move.REVIVE: Transition((_F,), _P, Actor.PERSON, ("submission", "dead_state")),
        Move.RESOLVE: Transition((_F,), _F, Actor.PERSON, ("submission", "dead_state")),
        Move.ABANDON: Transition((_F,), _F, Actor.PERSON, ("submission", "dead_state")),
        Move.RESUBMIT: Transition((_C, _F, _X), _P, Actor.SUBMITTER, ("submission",)),
        Move.DISPATCH: Transition((_P,), _P, Actor.RECOVERY, ("attempt", "dispatches")),
        Move.RECORD: Transition((_C, _F, _X), _C, Actor.SUBMITTER, ("submission",)),
        Move.FORGET: Transition((_C,), _C, Actor.PERSON, ("submission",)),
    }
)


def owner_move(status: JobStatus) -> Move | None:
    """The move by which a claim's owner ends its attempt in ``status``; ``None`` where there is none."""
    return {_C: Move.COMPLETE, _F: Move.FAIL, _P: Move.RETRY, _X: Move.STOP}.get(status)
