"""The result of a conditional write: made, refused, or made before by a try whose answer was lost."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jobclaim.jobs.model import Job
from jobclaim.jobs.recognition import is_same_state
from jobclaim.jobs.transitions import TRANSITIONS, Move


@dataclass(frozen=True, slots=True)
class Written:
    """Result of a conditional write.

    Attributes
    ----------
    applied : bool
        Whether the write was made, by this try or by an earlier one whose answer was lost.
    job : Job or None
        The job after the write, or the job that caused a refusal; ``None`` if there is no item.
    tries : int
        Requests that were made: if a later one is refused, an earlier one may have been applied.
    """

    applied: bool
    job: Job | None = None
    tries: int = 1

    @property
    def made(self) -> Job | None:
        """The job after the write; ``None`` if the write was refused."""
        return self.job if self.applied else None


def signed(before: Job, after: Job, nonce: str) -> Job:
    """Mark a move with a random value, in the job and in the attempt that the move ended, if any."""
    if after.history == before.history:
        return replace(after, nonce=nonce)
    return replace(after, nonce=nonce, history=(*after.history[:-1], replace(after.history[-1], nonce=nonce)))


def judged(written: Written, move: Move, after: Job) -> Written:
    """Count a refused write as made if the stored job shows that an earlier try was applied."""
    row, stored = TRANSITIONS[move], written.job
    if written.applied:
        return written if stored is not None else Written(True, after, written.tries)
    if stored is None:
        return written
    if not (written.tries > 1 or row.is_repeatable) or not row.recognises(stored, after):
        return written
    return Written(True, stored if row.brings or is_same_state(stored, after) else after, written.tries)
