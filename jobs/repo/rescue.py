"""Recovery's moves: each one conditional write on exactly what was read.

A move that is refused changed nothing: somebody else acted first, and that is normal. One that was applied and whose
answer was lost counts as applied. Nothing is decided here.
"""

from __future__ import annotations

from jobclaim.jobs.model import Failure, Job, JobStatus
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.transitions import Move


def orphan_fail(repo: JobRepo, job: Job, failure: Failure) -> Job | None:
    """End an orphaned attempt: PROCESSING to FAILED, while the claim is still the one that was read.

    Returns
    -------
    Job or None
        The job as it is now; ``None`` when the write was refused.

    Raises
    ------
    StoreUnavailable
        Nothing is known to be changed; the next pass looks again. All functions of this module.
    """
    after = lifecycle.ended_badly(job, Move.ORPHAN_FAIL, JobStatus.FAILED, failure, repo.clock(), repo.retention)
    return repo.table.apply(job, Move.ORPHAN_FAIL, after).made


def orphan_retry(repo: JobRepo, job: Job, failure: Failure) -> Job | None:
    """End an orphaned attempt and let the next one start at once: PROCESSING to PENDING. The caller sends its message.

    The lost attempt stays charged: a job that kills its worker must not be tried for ever. Returns as `orphan_fail`.
    """
    now = repo.clock()
    after = lifecycle.pending_again(job, Move.ORPHAN_RETRY, failure, now, now, charge=True)
    return repo.table.apply(job, Move.ORPHAN_RETRY, after).made


def orphan_stop(repo: JobRepo, job: Job, failure: Failure) -> Job | None:
    """End an orphaned attempt that was to be cancelled: PROCESSING to CANCELLED. Returns as `orphan_fail`."""
    after = lifecycle.ended_badly(job, Move.ORPHAN_STOP, JobStatus.CANCELLED, failure, repo.clock(), repo.retention)
    return repo.table.apply(job, Move.ORPHAN_STOP, after).made


def give_up(repo: JobRepo, job: Job, failure: Failure) -> Job | None:
    """End a job that no message brings to a claim: PENDING to FAILED. Returns as `orphan_fail`."""
    after = lifecycle.ended_badly(job, Move.GIVE_UP, JobStatus.FAILED, failure, repo.clock(), repo.retention)
    return repo.table.apply(job, Move.GIVE_UP, after).made


def expire(repo: JobRepo, job: Job) -> Job | None:
    """End a job that nobody started in time: PENDING to CANCELLED. Returns as `orphan_fail`."""
    return repo.table.apply(job, Move.CANCEL, lifecycle.late(job, repo.clock(), repo.retention)).made


def dispatch(repo: JobRepo, job: Job) -> Job | None:
    """Count the message that the caller sends next; one of two passes in parallel gets to. Returns as `orphan_fail`."""
    return repo.table.apply(job, Move.DISPATCH, lifecycle.dispatched(job, repo.clock())).made


def revive(repo: JobRepo, job: Job) -> Job | None:
    """Start a failed job again by its dead-letter rule: FAILED to PENDING. The caller sends its message.

    Returns as `orphan_fail`; refused where a person has decided meanwhile.
    """
    return repo.table.apply(job, Move.REVIVE, lifecycle.revived_by_rule(job, repo.clock())).made
