"""One decision on one dead letter: a conditional write on what was read."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from jobclaim.fleet.person import whoami
from jobclaim.jobs.model import DeadState, Job, JobStatus
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.transitions import Move

Verb: TypeAlias = Literal["retry", "resolve", "abandon"]
VERBS: Final = ("retry", "resolve", "abandon")


def state_of(job: Job) -> str:
    """Return the dead-letter state of a failed job; one that an older version failed is waiting."""
    return job.dead_state or (DeadState.WAITING if job.status is JobStatus.FAILED else "")


def retry(repo: JobRepo, job: Job, *, by: str, why: str = "", at: int = 0) -> Job | None:
    """Retry a failed job, or return ``None`` if it has changed since it was read. The caller sends its message.

    Parameters
    ----------
    at : int
        Earliest start, epoch milliseconds; a time that has passed means at once.
    """
    now = repo.clock()
    return repo.table.apply(job, Move.REVIVE, lifecycle.revived(job, now, max(now, at), by=by, why=why)).made


def settle(repo: JobRepo, job: Job, verb: Verb, *, by: str, why: str = "") -> Job | None:
    """Resolve or abandon a failed job, or return ``None`` if it has changed since it was read."""
    move = {"resolve": Move.RESOLVE, "abandon": Move.ABANDON}[verb]
    after = lifecycle.concluded(job, move, repo.clock(), repo.retention, by=by, why=why)
    return repo.table.apply(job, move, after).made


def resolve_edited(repo: JobRepo, job_id: str, new: Job, *, by: str = "") -> str:
    """Resolve a dead letter whose work a new job does; return why it was not, or empty text."""
    old = repo.get_job(job_id, large=False)
    if old.status is not JobStatus.FAILED:
        return f"it is {old.status}, not a dead letter"
    why = f"run again with another payload as {new.job_id}"
    return "" if settle(repo, old, "resolve", by=by or whoami(), why=why) else "it changed meanwhile"
