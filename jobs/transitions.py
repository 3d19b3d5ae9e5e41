"""Every legal move of a job, and the condition under which DynamoDB accepts it.

::

    (none) ──submit──▶ PENDING ──claim──▶ PROCESSING ──complete──▶ COMPLETED
                       │  │  ▲            │ │ │
                       │  │  └── retry ───┘ │ ├── fail ─────────▶ FAILED
                       │  │      release    │ └── orphan-fail ──▶ FAILED
                       │  │      orphan-    ├──── stop ─────────▶ CANCELLED
                       │  │      retry      └── orphan-stop ────▶ CANCELLED
                       │  └───── give-up ───────────────────────▶ FAILED
                       └──────── cancel ────────────────────────▶ CANCELLED

    FAILED ──revive──▶ PENDING            a person, or the dead-letter policy
    FAILED ──resolve, abandon──▶ FAILED   a person: the work is done, or it is no longer wanted
    COMPLETED, FAILED, CANCELLED ──submit──▶ PENDING       an equal submission after the window has expired
    (none), COMPLETED, FAILED, CANCELLED ──record──▶ COMPLETED     a result of work that was done outside any job
    COMPLETED ──forget──▶ COMPLETED       it no longer answers equal submissions
    complete-with-effects, submit-with-writes: as complete and submit, in one transaction with the caller's own writes
    PROCESSING ──step, progress, note──▶ PROCESSING        the owner stores state for the next attempt
    PROCESSING ──wait──▶ PENDING ──resume──▶ PENDING       without a worker, until it is resumed or its deadline comes
    PROCESSING ──resume-early──▶ PROCESSING                a resume that comes before the wait
    PENDING ──dispatch──▶ PENDING         recovery, or an equal submission, counts the message that it is about to send

The ends of a claim are conditional on its token, moves of a waiting job on its attempt, and what follows an end on the
submission that it ended: each run has a random submission id, because the times of two ends can be equal.

This table is the only source of condition expressions on ``status``; nothing else writes it. Each row includes the
check that recognizes a write that was applied but whose answer was lost, and
`jobclaim.jobs.storage.table.JobTable.apply` makes any of them: a new move is a new row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from jobclaim.jobs import recognition as by
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.recognition import Recognition


class Move(StrEnum):
    """Names of the moves; they appear in the history and in logs."""

    SUBMIT = "submit"
    SUBMIT_WITH_WRITES = "submit-with-writes"
    CLAIM = "claim"
    COMPLETE = "complete"
    COMPLETE_WITH_EFFECTS = "complete-with-effects"
    FAIL = "fail"
    RETRY = "retry"
    RELEASE = "release"
    STOP = "stop"
    ORPHAN_FAIL = "orphan-fail"
    ORPHAN_RETRY = "orphan-retry"
    ORPHAN_STOP = "orphan-stop"
    CANCEL = "cancel"
    GIVE_UP = "give-up"
    REVIVE = "revive"
    RESOLVE = "resolve"
    ABANDON = "abandon"
    DISPATCH = "dispatch"
    RECORD = "record"
    FORGET = "forget"
    STEP = "step"
    PROGRESS = "progress"
    NOTE = "note"
    WAIT = "wait"
    RESUME = "resume"
    RESUME_EARLY = "resume-early"


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
        States that the job may be in.
    target : JobStatus
    recognises : callable
        Checks whether a refused write was applied before; see `jobclaim.jobs.recognition`.
    guards : tuple of str
        Attributes that must still hold the value that the mover knows: ``claim_token`` fences by the claim, the others
        by what was read.
    optional : tuple of str
        Guards that apply only if the mover knows a value.
    deadline : str
        Attribute that, if stored, must not be before the mover's ``now``, if the mover passes one.
    not_before : str
        Attribute that must not be after the mover's ``due``, if the mover passes one.
    barred : tuple of str
        Attributes that must not have one of the values that the mover passes as barred: what is paused.
    fresh : tuple of str
        Attributes that the move must write anew, so that a delayed duplicate of the request is refused.
    creates : bool
        Whether the move may also start without an existing job.
    signs : bool
        Whether the move writes a new `nonce`, which distinguishes it from the same move by another process.
    brings : bool
        Whether the mover has not read the job, so that the answer must contain it.
    """

    sources: tuple[JobStatus, ...]
    target: JobStatus
    actor: Actor
    recognises: Recognition
    guards: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    deadline: str = ""
    not_before: str = ""
    barred: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    creates: bool = False
    signs: bool = False
    brings: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether a later call may repeat the move after `StoreUnavailable`: only the owner knows the claim's token.

        With other moves, another process may write the same in the same millisecond: there, a refusal counts as the
        caller's own write only if an earlier try of the same call had no answer, and what is random in it tells the
        two writes apart.
        """
        return self.actor in (Actor.WORKER, Actor.OWNER)

    def expected(self, known: Mapping[str, str | int]) -> dict[str, str | int]:
        """Select the guards' values from what the mover knows; a missing required one is a programming error."""
        missing = [guard for guard in self.guards if guard not in known]
        if missing:
            raise KeyError(f"the move to {self.target} needs {missing} of the job as last read")
        return {guard: known[guard] for guard in (*self.guards, *self.optional) if guard in known}


_P, _R = JobStatus.PENDING, JobStatus.PROCESSING
_C, _F, _X = JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED

TRANSITIONS: Final[Mapping[Move, Transition]] = MappingProxyType(
    {
        Move.SUBMIT: Transition((_C, _F, _X), _P, Actor.SUBMITTER, by.same_submission, ("submission",), creates=True),
        Move.SUBMIT_WITH_WRITES: Transition(
            (_C, _F, _X), _P, Actor.SUBMITTER, by.same_submission, ("submission",), creates=True
        ),
        Move.CLAIM: Transition(
            (_P,),
            _R,
            Actor.WORKER,
            by.same_claim,
            optional=("attempt", "task"),
            deadline="start_by",
            not_before="available_at",
            barred=("task", "queue"),
            fresh=("claim_token",),
            brings=True,
        ),
        Move.COMPLETE: Transition((_R,), _C, Actor.OWNER, by.same_result, ("claim_token",)),
        Move.COMPLETE_WITH_EFFECTS: Transition((_R,), _C, Actor.OWNER, by.same_result, ("claim_token",)),
        Move.FAIL: Transition((_R,), _F, Actor.OWNER, by.same_end, ("claim_token",)),
        Move.RETRY: Transition((_R,), _P, Actor.OWNER, by.same_end, ("claim_token",)),
        Move.RELEASE: Transition((_R,), _P, Actor.OWNER, by.same_end, ("claim_token",)),
        Move.STOP: Transition((_R,), _X, Actor.OWNER, by.same_end, ("claim_token",)),
        Move.ORPHAN_FAIL: Transition((_R,), _F, Actor.RECOVERY, by.same_rescue, ("claim_token",), signs=True),
        Move.ORPHAN_RETRY: Transition((_R,), _P, Actor.RECOVERY, by.same_rescue, ("claim_token",), signs=True),
        Move.ORPHAN_STOP: Transition((_R,), _X, Actor.RECOVERY, by.same_rescue, ("claim_token",), signs=True),
        Move.CANCEL: Transition((_P,), _X, Actor.PERSON, by.same_call_off, ("attempt",), signs=True),
        Move.GIVE_UP: Transition((_P,), _F, Actor.RECOVERY, by.same_call_off, ("attempt", "dispatches"), signs=True),
        Move.REVIVE: Transition((_F,), _P, Actor.PERSON, by.same_submission, ("submission", "dead_state")),
        Move.RESOLVE: Transition((_F,), _F, Actor.PERSON, by.same_decision, ("submission", "dead_state")),
        Move.ABANDON: Transition((_F,), _F, Actor.PERSON, by.same_decision, ("submission", "dead_state")),
        Move.DISPATCH: Transition((_P,), _P, Actor.RECOVERY, by.same_dispatch, ("attempt", "dispatches"), signs=True),
        Move.RECORD: Transition((_C, _F, _X), _C, Actor.SUBMITTER, by.same_submission, ("submission",), creates=True),
        Move.FORGET: Transition((_C,), _C, Actor.PERSON, by.run_is_over, ("submission",)),
        Move.STEP: Transition((_R,), _R, Actor.OWNER, by.same_step, ("claim_token", "step_count")),
        Move.PROGRESS: Transition((_R,), _R, Actor.OWNER, by.same_progress, ("claim_token",)),
        Move.NOTE: Transition((_R,), _R, Actor.OWNER, by.same_note, ("claim_token", "wait_changes")),
        Move.WAIT: Transition((_R,), _P, Actor.OWNER, by.same_end, ("claim_token", "wait_changes")),
        Move.RESUME: Transition((_P,), _P, Actor.PERSON, by.same_resume, ("attempt", "dispatches", "wait_changes")),
        Move.RESUME_EARLY: Transition((_R,), _R, Actor.PERSON, by.same_resume, ("claim_token", "wait_changes")),
    }
)


def as_read(job: Job) -> dict[str, str | int]:
    """Return what a mover knows of the job that it read: the values that guards may check."""
    return {
        "claim_token": job.claim_token,
        "attempt": job.attempt,
        "submission": job.submission,
        "dispatches": job.dispatches,
        "dead_state": job.dead_state,
        "step_count": job.step_count,
        "wait_changes": job.wait_changes,
    }


def owner_move(status: JobStatus) -> Move | None:
    """Return the move with which a claim's owner ends its attempt in ``status``; ``None`` if there is none."""
    return {_C: Move.COMPLETE, _F: Move.FAIL, _P: Move.RETRY, _X: Move.STOP}.get(status)
