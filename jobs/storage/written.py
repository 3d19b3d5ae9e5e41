"""What became of a conditional write: made, refused, or made before by a try whose answer was lost."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jobclaim.jobs.model import Job
from jobclaim.jobs.recognition import is_same_state
from jobclaim.jobs.transitions import TRANSITIONS, Move


@dataclass(frozen=True, slots=True)
class Written:
    """Answer to a conditional write.

    Attributes
    ----------
    applied : bool
        Whether the write was made, by this try or by an earlier one whose answer was lost.
    job : Job or None
        The job as the write made it, or as it stood in the way of a refused one; ``None`` where there is no item.
    tries : int
        Requests that were made: a refusal of any but the first may be of a write that was applied before.
    """

    applied: bool
    job: Job | None = None
    tries: int = 1

    @property
    def made(self) -> Job | None:
        """The job as the write made it; ``None`` where it was refused."""
        return self.job if self.applied else None


def judged(written: Written, move: Move, after: Job) -> Written:
    """Count a refused write as made where the job that stands in its way shows that an earlier try was applied."""
    row, stored = TRANSITIONS[move], written.job
    if written.applied or stored is None:
        return replace(written, job=stored or (after if written.applied else None))
    if not (written.tries > 1 or row.is_repeatable) or not row.recognises(stored, after):
        return written
    return Written(True, stored if row.brings or is_same_state(stored, after) else after, written.tries)
