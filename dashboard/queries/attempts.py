"""A job's attempts and their claims: who held the lease, until when, and who ended it. Pure functions.

Everything is derived from the job alone, which records only its last ten attempts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from jobclaim.jobs import Attempt, Job, JobStatus
from jobclaim.jobs.protocol import releases
from jobclaim.jobs.transitions import TRANSITIONS, Actor, Move
from jobclaim.views.holds import hold_in_words
from jobclaim.views.humane import span
from jobclaim.views.records import failure_record

BY: Final = {
    Actor.OWNER: "its own worker",
    Actor.RECOVERY: "recovery",
    Actor.PERSON: "a person or recovery",
    Actor.SUBMITTER: "its submitter",
    Actor.WORKER: "a worker",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One attempt and its claim. Times are epoch milliseconds, 0 for not yet.

    Attributes
    ----------
    running : bool
        Whether the claim holds now.
    lease_over : bool
        Whether its lease had expired when the attempt ended, or has by now.
    outcome : str
        Name of the move that ended it (`jobclaim.jobs.transitions.Move`) in lower case; "running" while it runs.
    tone : str
        ``good``, ``bad``, ``warn``, ``calm`` or ``live``.
    ended_by : str
        Who ended it: its own worker, recovery or a person; empty while it runs.
    story : str
        Summary in a sentence.
    hold : str
        What released it uncharged; empty if it ended otherwise.
    """

    number: int
    worker_id: str
    claimed_at: int
    lease_expires_at: int
    ended_at: int
    running: bool
    lease_over: bool
    outcome: str
    tone: str
    ended_by: str
    story: str
    failure: dict[str, Any] | None
    hold: str = ""

    @property
    def held_ms(self) -> int:
        """Return how long the claim was held; 0 while it is held."""
        return max(0, self.ended_at - self.claimed_at) if self.claimed_at and self.ended_at else 0

    @property
    def recovered(self) -> bool:
        """Return whether recovery ended it."""
        return self.ended_by == BY[Actor.RECOVERY]


def attempts(job: Job, now: int) -> list[Held]:
    """Return the attempts of a job, the first one first."""
    found = [_ended(attempt) for attempt in job.history]
    if job.attempt and job.claimed_at and all(one.number != job.attempt for one in found):
        found.append(_current(job, now))
    return sorted(found, key=lambda one: (one.number, one.ended_at or now))


def _ended(attempt: Attempt) -> Held:
    move = Move(attempt.outcome) if attempt.outcome in frozenset(Move) else None
    by = BY[TRANSITIONS[move].actor] if move else "unknown"
    over = 0 < attempt.lease_expires_at <= attempt.ended_at
    released = releases.of_attempt(attempt)
    return Held(
        number=attempt.attempt,
        worker_id=attempt.worker_id,
        claimed_at=attempt.claimed_at,
        lease_expires_at=attempt.lease_expires_at,
        ended_at=attempt.ended_at,
        running=False,
        lease_over=over,
        outcome=attempt.outcome,
        tone=TONES.get(attempt.outcome, "warn"),
        ended_by=by,
        story=_story(attempt, by, over),
        failure=None if released else failure_record(attempt.failure),
        hold=hold_in_words(released) if released else "",
    )


TONES: Final = {"complete": "good", "fail": "bad", "orphan-fail": "bad", "give-up": "bad", "release": "calm"}
WORDS: Final = {
    "retry": "It failed and was retried",
    "release": "It was released uncharged",
    "fail": "It failed, and no attempt followed",
    "stop": "It was cancelled while it ran",
    "cancel": "It was cancelled before a worker claimed it",
    "orphan-fail": "Its worker was lost, and the job was set to FAILED",
    "orphan-retry": "Its worker was lost, and the job was retried",
    "orphan-stop": "Its worker was lost after the job's cancellation was requested; the job was set to CANCELLED",
    "give-up": "No worker claimed it",
    "complete": "It completed",
}


def _story(attempt: Attempt, by: str, over: bool) -> str:
    words = WORDS.get(attempt.outcome, f"It ended by {attempt.outcome!r}")
    if not attempt.outcome.startswith("orphan"):
        return f"{words}, by {by}."
    if over:
        return f"{words}, by recovery, {span(attempt.ended_at - attempt.lease_expires_at)} after its lease had ended."
    return f"{words}, by recovery, before its lease ended, because worker {attempt.worker_id!r} was lost."


def _current(job: Job, now: int) -> Held:
    running = job.status is JobStatus.PROCESSING
    over = 0 < job.lease_expires_at <= (now if running else job.finished_at)
    if running:
        outcome, tone, by = "running", "warn" if over else "live", ""
        story = (
            "Its lease has ended and its outcome was not recorded: the next recovery pass handles it."
            if over
            else f"{job.worker_id or 'A process outside workers'} holds the claim."
        )
    else:
        outcome = {JobStatus.COMPLETED: "complete", JobStatus.CANCELLED: "stop"}.get(job.status, "fail")
        tone, by = TONES.get(outcome, "calm"), BY[Actor.OWNER]
        story = f"{WORDS[outcome]}, by {by}."
    return Held(
        number=job.attempt,
        worker_id=job.worker_id,
        claimed_at=job.claimed_at,
        lease_expires_at=job.lease_expires_at,
        ended_at=0 if running else job.finished_at,
        running=running,
        lease_over=over,
        outcome=outcome,
        tone=tone,
        ended_by=by,
        story=story,
        failure=None if running or outcome == "complete" else failure_record(job.failure),
    )
