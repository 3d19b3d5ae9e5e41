"""Recovery's moves: each is one conditional write on exactly what was read.

A refused move changed nothing: another process acted first, which is normal. A move that was applied but whose answer
was lost counts as applied. This module decides nothing.
"""

from __future__ import annotations

from jobclaim.jobs.kept import Release
from jobclaim.jobs.model import Failure, Job, JobStatus
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.transitions import Move


def orphan_fail(repo: JobRepo, job: Job, failure: Failure) -> Job | None:
    """End an orphaned attempt: PROCESSING to FAILED, if the claim is still the one that was read.

    Returns
    -------
    Job or None
        The current job; ``None`` if the write was refused.

    Raises
    ------
    StoreUnavailable
        Nothing is known to have changed; the next pass checks again. Applies to all functions of this module.
    """
    after = lifecycle.ended_badly(job, Move.ORPHAN_FAIL, JobStatus.FAILED, failure, repo.clock(), repo.retention)
    return repo.table.apply(job, Move.ORPHAN_FAIL, after).made


def orphan_retry(repo: JobRepo, job: Job, failure: Failure) -> Job | None:
    """End an orphaned attempt and start the next one at once: PROCESSING to PENDING. The caller sends its message.

    The lost attempt stays charged: a job that kills its worker must not be retried forever. Returns as `orphan_fail`.
    """
    now = repo.clock()
    after = lifecycle.pending_again(job, Move.ORPHAN_RETRY, failure, now, now, charge=True)
    return repo.table.apply(job, Move.ORPHAN_RETRY, after).made


def orphan_stop(repo: JobRepo, job: Job, failure: Failure) -> Job | None:
    """End an orphaned attempt whose cancellation was requested: PROCESSING to CANCELLED. Returns as `orphan_fail`."""
    after = lifecycle.ended_badly(job, Move.ORPHAN_STOP, JobStatus.CANCELLED, failure, repo.clock(), repo.retention)
    return repo.table.apply(job, Move.ORPHAN_STOP, after).made


def give_up(repo: JobRepo, job: Job, failure: Failure) -> Job | None:
    """End a job whose messages never lead to a claim: PENDING to FAILED. Returns as `orphan_fail`."""
    after = lifecycle.ended_badly(job, Move.GIVE_UP, JobStatus.FAILED, failure, repo.clock(), repo.retention)
    return repo.table.apply(job, Move.GIVE_UP, after).made


def expire(repo: JobRepo, job: Job) -> Job | None:
    """End a job that was not started before its ``start_by``: PENDING to CANCELLED. Returns as `orphan_fail`."""
    return repo.table.apply(job, Move.CANCEL, lifecycle.late(job, repo.clock(), repo.retention)).made


def dispatch(repo: JobRepo, job: Job, held: Release | None = None) -> Job | None:
    """Count the message that the caller sends next; of two parallel passes one succeeds. Returns as `orphan_fail`.

    ``held`` is what kept the last message from being claimed, if that is known.
    """
    return repo.table.apply(job, Move.DISPATCH, lifecycle.dispatched(job, repo.clock(), held)).made


def revive(repo: JobRepo, job: Job) -> Job | None:
    """Start a failed job again by its dead-letter rule: FAILED to PENDING. The caller sends its message.

    Returns as `orphan_fail`; refused if a person has decided meanwhile.
    """
    return repo.table.apply(job, Move.REVIVE, lifecycle.revived_by_rule(job, repo.clock())).made
