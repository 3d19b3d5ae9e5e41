"""Recovery's moves: each one conditional write on exactly what was read.

A move that is refused changed nothing: somebody else acted first, and that is normal. One that was applied and whose
answer was lost counts as applied. Nothing is decided here.
"""

from __future__ import annotations

from jobclaim.jobs import lifecycle
from jobclaim.jobs.model import Failure, Job, JobStatus
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
    return _apply(repo, job, Move.ORPHAN_FAIL, after)


def orphan_retry(repo: JobRepo, job: Job, failure: Failure) -> Job | None:
    """End an orphaned attempt and let the next one start at once: PROCESSING to PENDING. The caller sends its message.

    The lost attempt stays charged: a job that kills its worker must not be tried for ever. Returns as `orphan_fail`.
    """
    now = repo.clock()
    after = lifecycle.pending_again(job, Move.ORPHAN_RETRY, failure, now, now, charge=True)
    return _apply(repo, job, Move.ORPHAN_RETRY, after)


def orphan_stop(repo: JobRepo, job: Job, failure: Failure) -> Job | None:
    """End an orphaned attempt that was to be cancelled: PROCESSING to CANCELLED. Returns as `orphan_fail`."""
    after = lifecycle.ended_badly(job, Move.STOP, JobStatus.CANCELLED, failure, repo.clock(), repo.retention)
    return _apply(repo, job, Move.STOP, after)


def give_up(repo: JobRepo, job: Job, failure: Failure) -> Job | None:
    """End a job that no message brings to a claim: PENDING to FAILED. Returns as `orphan_fail`."""
    after = lifecycle.ended_badly(job, Move.GIVE_UP, JobStatus.FAILED, failure, repo.clock(), repo.retention)
    return _apply(repo, job, Move.GIVE_UP, after)


def expire(repo: JobRepo, job: Job) -> Job | None:
    """End a job that nobody started in time: PENDING to CANCELLED. Returns as `orphan_fail`."""
    return _apply(repo, job, Move.CANCEL, lifecycle.late(job, repo.clock(), repo.retention))


def dispatch(repo: JobRepo, job: Job) -> Job | None:
    """Count the message that the caller sends next; one of two passes in parallel gets to. Returns as `orphan_fail`."""
    return _apply(repo, job, Move.DISPATCH, lifecycle.dispatched(job, repo.clock()))


def revive(repo: JobRepo, job: Job) -> Job | None:
    """Start a failed job again by its dead-letter rule: FAILED to PENDING. The caller sends its message.

    Returns as `orphan_fail`; refused where a person has decided meanwhile.
    """
    return _apply(repo, job, Move.REVIVE, lifecycle.revived_by_rule(job, repo.clock()))


def _apply(repo: JobRepo, before: Job, move: Move, after: Job) -> Job | None:
    table = repo.table
    changes = lifecycle.changes(before, after, shards=table.shards, index_completed=table.index_completed)
    written = table.move(before.job_id, move, expected=lifecycle.as_read(before), changes=changes)
    if written.applied:
        return after
    # Passes in parallel may write the same within one millisecond. So what is stored counts as ours only where a try of
    # our own had no answer; two passes that then both act tell links once and send a message that the claim refuses.
    lost_answer = written.tries > 1 and written.job is not None and _has_written(written.job, move, after)
    return after if lost_answer else None


def _has_written(stored: Job, move: Move, after: Job) -> bool:
    """Whether the job bears exactly this write, to the millisecond, also where a person has decided on it since."""
    match move:
        case Move.ORPHAN_FAIL | Move.ORPHAN_RETRY | Move.STOP:
            return after.history[-1] in stored.history
        case Move.REVIVE:
            return stored.submission == after.submission
        case Move.DISPATCH:
            return _names(stored) == _names(after) and (stored.status, stored.dispatches, stored.dispatched_at) == (
                after.status,
                after.dispatches,
                after.dispatched_at,
            )
        case _:
            ended = (after.finished_at, after.failure)
            return _names(stored) == _names(after) and (stored.finished_at, stored.failure) == ended


def _names(job: Job) -> tuple[str, int]:
    """What tells a run and its attempt from all others."""
    return job.submission, job.attempt
