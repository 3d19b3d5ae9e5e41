"""One decision on one dead letter: a conditional write on what was read."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from jobclaim.jobs import lifecycle
from jobclaim.jobs.model import DeadState, Job, JobStatus
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.transitions import Move

Verb: TypeAlias = Literal["retry", "resolve", "abandon"]
VERBS: Final = ("retry", "resolve", "abandon")


def state_of(job: Job) -> str:
    """Dead state of a failed job; one that an older version failed waits."""
    return job.dead_state or (DeadState.WAITING if job.status is JobStatus.FAILED else "")


def retry(repo: JobRepo, job: Job, *, by: str, why: str = "") -> Job | None:
    """Start a failed job again as it was read; ``None`` where it has changed since. The caller sends its message."""
    now = repo.clock()
    return _write(repo, job, Move.REVIVE, lifecycle.revived(job, now, now, by=by, why=why))


def settle(repo: JobRepo, job: Job, verb: Verb, *, by: str, why: str = "") -> Job | None:
    """Resolve or abandon a failed job as it was read; ``None`` where it has changed since."""
    move = {"resolve": Move.RESOLVE, "abandon": Move.ABANDON}[verb]
    return _write(repo, job, move, lifecycle.settled(job, move, repo.clock(), repo.retention, by=by, why=why))


def _write(repo: JobRepo, before: Job, move: Move, after: Job) -> Job | None:
    table = repo.table
    changes = lifecycle.changes(before, after, shards=table.shards, index_completed=table.index_completed)
    written = table.move(before.job_id, move, expected=lifecycle.as_read(before), changes=changes)
    if written.applied or (written.job is not None and written.job.decisions[-1:] == after.decisions[-1:]):
        return after  # or only the answer was lost
    return None
