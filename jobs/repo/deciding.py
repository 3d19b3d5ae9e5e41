"""Decisions by people: retry a failed job, cancel a waiting one."""

from __future__ import annotations

from datetime import datetime

from jobclaim.jobs import checks
from jobclaim.jobs.errors import (
    IllegalTransition,
)
from jobclaim.jobs.failures.description import describe
from jobclaim.jobs.model import FailureKind, Job, JobStatus
from jobclaim.jobs.protocol import durable, lifecycle
from jobclaim.jobs.repo.reading import Reading
from jobclaim.jobs.transitions import Move


class Deciding(Reading):
    """Carries out people's decisions, each conditional on the job as it was read."""

    def retry_job(
        self,
        job_id: str,
        *,
        available_at: int | datetime | None = None,
        by: str = "a person",
        reason: str = "",
        clear_steps: bool = False,
    ) -> Job:
        """Start a FAILED job again with a new set of attempts. The caller sends its message; otherwise recovery does.

        Stored state is kept: finished steps are not run again, and the checkpoint and resumes are available.

        Parameters
        ----------
        by, reason : str
            Stored with the job: who requested it, and why.
        clear_steps : bool
            Drop its finished steps, its checkpoint and its waits, so that everything is done again.

        Raises
        ------
        IllegalTransition
            The job is not FAILED, or was retried by another caller just now.
        """
        job, now = self.get_job(job_id, large=False), self.clock()
        if job.status is not JobStatus.FAILED:
            raise IllegalTransition(f"job {job_id!r} is {job.status}; only a FAILED job can be retried")
        at = max(now, checks.moment(available_at, "available_at", now))
        after = lifecycle.revived(job, now, at, by=by, why=reason)
        written = self.table.apply(job, Move.REVIVE, durable.cleared(after) if clear_steps else after)
        if written.made:
            return self.large.readable(written.made)
        raise _changed(job_id, "retried", written.job)

    def cancel_job(self, job_id: str, *, reason: str = "cancelled by a person", read: Job | None = None) -> Job:
        """Cancel a PENDING job; a job that is already cancelled is returned unchanged.

        A large payload is not read: its mark stands in for it, as in a list.

        Parameters
        ----------
        read : Job, optional
            The job as the caller has read it, which saves a read; the write is conditional on its attempt.

        Raises
        ------
        IllegalTransition
            The job is running or has ended.
        """
        job, now = read or self.get_job(job_id, large=False), self.clock()
        if job.status is JobStatus.CANCELLED:
            return job
        if job.status is not JobStatus.PENDING:
            raise IllegalTransition(f"job {job_id!r} is {job.status}; only a PENDING job can be cancelled here")
        failure = describe(reason, now, FailureKind.CANCELLED)
        after = lifecycle.ended_badly(job, Move.CANCEL, JobStatus.CANCELLED, failure, now, self.retention)
        written = self.table.apply(job, Move.CANCEL, after)
        if written.job is not None and written.job.status is JobStatus.CANCELLED:
            return written.job
        raise _changed(job_id, "cancelled", written.job)


def _changed(job_id: str, verb: str, now: Job | None) -> IllegalTransition:
    where = f"it is {now.status} now" if now else "it no longer exists"
    return IllegalTransition(
        f"job {job_id!r} was not {verb}: it changed meanwhile ({where}); look at it again and decide then"
    )
