"""``with repo.claimed(job_id) as job:`` claims a job, and ends its attempt as the block ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from jobclaim.jobs.effects.collected import Effects
from jobclaim.jobs.errors import (
    ClaimLost,
    EffectRefused,
    InvalidEffect,
    JobCancelled,
    JobNotFound,
    StoreUnavailable,
    Suspended,
)
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.repo import delivery
from jobclaim.jobs.repo.claiming import Claiming
from jobclaim.jobs.repo.running import Running

log = get_logger("jobclaim.jobs")

RETRY: Final = "celery.exceptions.Retry"
"""Raised by Celery where another attempt is to follow; by name, for this layer knows no Celery."""


class ClaimedJob:
    """A job that the block holds: it has the attributes of `Job`, and the result that the block sets.

    Attributes
    ----------
    result
        Plain JSON values, written when the block ends; ``None`` unless it is set.
    effects : Effects
        Writes to tables of yours that are made with the job's completion in one transaction, or not at all.
    """

    def __init__(self, job: Job, running: Running, effects: Effects) -> None:
        self.job = job
        self.result: Any = None
        self.effects = effects
        self.step = running.step
        """Runs a function once in the job's life: see `JobRepo.step`."""
        self.astep = running.astep
        """The same for an asynchronous function, in the block's own event loop."""
        self.progress = running.progress
        """Tells how far the job is: see `JobRepo.progress`."""
        self.wait_token = running.wait_token
        """Gives the token that resumes a wait of this job: see `JobRepo.wait_token`."""
        self.wait_for = running.wait_for
        """Gives what the job was resumed with; where nobody did yet, leaves the block, and the job waits for it."""
        self.sleep = running.sleep
        """Leaves the block, and has the job started again after some seconds."""
        self.sleep_until = running.sleep_until
        """Leaves the block, and has the job started again at a time."""

    def set_result(self, result: Any) -> None:
        """Say what the job comes to."""
        self.result = result

    @property
    def cancelled(self) -> bool:
        """Whether a person wants the job to end: then clean up and return within `Settings.cancel_grace_seconds`."""
        return delivery.current().cancelled(self.job.claim_token)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.job, name)

    def __repr__(self) -> str:
        return f"ClaimedJob({self.job!r})"


class Scoped(Claiming):
    """Ends a claim with the block that it was made for."""

    @contextmanager
    def claimed(
        self,
        job_id: str,
        *,
        celery_task_id: str | None = None,
        worker_id: str | None = None,
        attempt: int | None = None,
    ) -> Iterator[ClaimedJob | None]:
        """Claim a job for a block, and end its attempt as the block ends.

        ::

            with repo.claimed(job_id) as job:
                if job is None:
                    return SKIPPED  # another worker has it: that is normal
                job.effects.put(TableName="invoices", Item=...)
                job.set_result(work(job.payload))

        Returning completes the job with the result that was set and the effects that were collected; a refused effect
        fails it with `EffectRefused`. An exception fails it, with its kind and its traceback, and goes on. Celery's
        ``Retry`` lets another attempt follow; in a worker ``Reject`` with ``requeue`` does so too, and ``Ignore``
        cancels the job. An outcome that the block recorded itself stands. A wait (``job.wait_for``, ``job.sleep``)
        leaves the block without an exception: what stands after the block is run, and the block itself from its
        beginning when the wait is over. Parameters and errors are those of `claim_job`; the end raises as
        `update_status`.

        Yields
        ------
        ClaimedJob or None
            The job with its payload; ``None`` where the claim was refused.
        """
        job = self.claim_job(job_id, celery_task_id=celery_task_id, worker_id=worker_id, attempt=attempt)
        if job is None:
            yield None
            return
        held = ClaimedJob(job, self.running(job_id, token=job.claim_token), Effects(self.own_tables))
        try:
            yield held
        except Suspended as suspended:
            if not self.holds(job):
                return
            self._end_raised(job, suspended)  # it is another job that waits, and its body leaves this block
            raise
        except BaseException as error:
            if self.holds(job) and not delivery.current().left(self, job, error):
                self._end_raised(job, error)
            raise
        if self.holds(job):
            self._complete(job, held)

    def _complete(self, job: Job, held: ClaimedJob) -> None:
        token, effects = job.claim_token, held.effects
        try:
            self.update_status(job.job_id, JobStatus.COMPLETED, result=held.result, token=token, effects=effects)
        except (EffectRefused, InvalidEffect) as refused:
            self._end_raised(job, refused)
            raise

    def _end_raised(self, job: Job, error: BaseException) -> None:
        """Record what the block raised; what cannot be written is logged, for the block's own error goes on."""
        try:
            if RETRY in {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}:
                self.reschedule(job.job_id, error=getattr(error, "exc", None), token=job.claim_token)
            elif isinstance(error, JobCancelled):
                self.update_status(job.job_id, JobStatus.CANCELLED, error=error, token=job.claim_token)
            else:
                self.update_status(job.job_id, JobStatus.FAILED, error=error, token=job.claim_token)
        except (ClaimLost, JobNotFound) as lost:
            log.warning("claim.lost", outcome=str(JobStatus.FAILED), reason=str(lost))
        except StoreUnavailable as unavailable:
            log.error(
                "job.outcome_not_recorded",
                outcome=str(JobStatus.FAILED),
                reason=str(unavailable),
            )
