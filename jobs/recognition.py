"""How each move recognizes that a refused write had been applied before, by a try whose answer was lost.

A recognition compares the job as stored with the job that the move was to write. It belongs to one row of the table in
`jobclaim.jobs.transitions`, and must hold even if the job has changed since: claimed again, decided on, run anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from jobclaim.jobs.encoding import codec
from jobclaim.jobs.model import Attempt, Job, JobStatus

Recognition: TypeAlias = Callable[[Job, Job], bool]
"""Called with the stored job and the job that the move was to write."""


def same_claim(stored: Job, after: Job) -> bool:
    """Recognize a claim by its token, which is unique to it."""
    return stored.status is JobStatus.PROCESSING and stored.claim_token == after.claim_token


def same_result(stored: Job, after: Job) -> bool:
    """Recognize a completion by its claim, its effects and its result: a different one of the same attempt is refused.

    Effects are recognized by their digest: a completion without them must not pass for one with them.
    """
    same_claim_completed = stored.status is JobStatus.COMPLETED and stored.claim_token == after.claim_token
    return (
        same_claim_completed
        and stored.effects == after.effects
        and codec.encode(stored.result) == codec.encode(after.result)
    )


def same_end(stored: Job, after: Job) -> bool:
    """Recognize an end that its owner wrote, at any time: the caller may repeat it in a later call.

    Recovery leaves the token in place, so the token alone proves nothing. The history records which move was made and
    why: a second, different end of the same attempt is not mistaken for this one.
    """
    return _timeless(after.history[-1]) in map(_timeless, stored.history)


def same_step(stored: Job, after: Job) -> bool:
    """Recognize a step by its record while its claim holds: a step of a claim that has ended counts for the next
    attempt, and its writer must learn that the claim has ended."""
    return same_claim(stored, after) and after.steps[-1] in stored.steps


def same_progress(stored: Job, after: Job) -> bool:
    """Recognize the last progress report while the claim holds."""
    same_report = (stored.progress, codec.encode(stored.checkpoint)) == (after.progress, codec.encode(after.checkpoint))
    return same_claim(stored, after) and same_report


def same_note(stored: Job, after: Job) -> bool:
    """Recognize the body's writes about its waits while the claim holds."""
    return same_claim(stored, after) and stored.wait_changes >= after.wait_changes and _has_waits(stored, after)


def same_resume(stored: Job, after: Job) -> bool:
    """Recognize a resume by its random value, whatever has happened to the job since."""
    return {wait.nonce for wait in after.waits} <= {wait.nonce for wait in stored.waits}


def same_rescue(stored: Job, after: Job) -> bool:
    """Recognize an end that recovery wrote by its entry in the history, which holds the random value of the move."""
    return after.history[-1] in stored.history


def same_call_off(stored: Job, after: Job) -> bool:
    """Recognize the end of a waiting job, which was not claimed and so has no entry in its history."""
    return _run(stored) == _run(after) and stored.status is after.status and stored.nonce == after.nonce


def same_dispatch(stored: Job, after: Job) -> bool:
    """Recognize a counted message while the job still waits for it."""
    counted = (stored.dispatches, stored.nonce) == (after.dispatches, after.nonce)
    return _run(stored) == _run(after) and stored.status is after.status and counted


def same_submission(stored: Job, after: Job) -> bool:
    """Recognize a run by its submission id, which is unique to it."""
    return stored.submission == after.submission


def same_decision(stored: Job, after: Job) -> bool:
    """Recognize a decision, even if more were made since."""
    return after.decisions[-1] in stored.decisions


def run_is_over(stored: Job, after: Job) -> bool:
    """Count a run that another one has replaced as forgotten; a run that was not replaced can be forgotten again."""
    return stored.submission != after.submission


def is_same_state(stored: Job, after: Job) -> bool:
    """Check whether the job is still where a move brought it: not in a later attempt, nor in a later run."""
    return stored.status is after.status and _run(stored) == _run(after)


def _has_waits(stored: Job, after: Job) -> bool:
    """Check whether the waits of one job are among those of the other, regardless of later resumes."""
    known = {wait.name: wait for wait in stored.waits}
    return all(
        (stored_wait := known.get(wait.name)) is not None
        and (stored_wait.since, stored_wait.until, stored_wait.timed_out, stored_wait.announced)
        == (wait.since, wait.until, wait.timed_out, wait.announced)
        for wait in after.waits
    )


def _run(job: Job) -> tuple[str, int]:
    """Return what identifies a run and its attempt."""
    return job.submission, job.attempt


def _timeless(entry: Attempt) -> Attempt:
    return replace(entry, ended_at=0, failure=replace(entry.failure, at=0) if entry.failure else None)
