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
"""Raised by Celery when another attempt is to follow; matched by name because this layer does not import Celery."""


class ClaimedJob:
    """A job held by a block: it has the attributes of `Job`, and the result that the block sets.

    Attributes
    ----------
    result
        Plain JSON values, written when the block ends; default ``None``.
    effects : Effects
        Writes to your own tables that are made with the job's completion in one transaction, or not at all.
    """

    def __init__(self, job: Job, running: Running, effects: Effects) -> None:
        self.job = job
        self.result: Any = None
        self.effects = effects
        self.step = running.step
        """Run a function once in the job's life: see `JobRepo.step`."""
        self.astep = running.astep
        """Run an asynchronous function once, in the block's own event loop: see `JobRepo.step`."""
        self.progress = running.progress
        """Report the job's progress: see `JobRepo.progress`."""
        self.wait_token = running.wait_token
        """Return the token that resumes a wait of this job: see `JobRepo.wait_token`."""
        self.wait_for = running.wait_for
        """Return what the job was resumed with; if it was not resumed yet, leave the block, and the job waits."""
        self.sleep = running.sleep
        """Leave the block, and start the job again after some seconds."""
        self.sleep_until = running.sleep_until
        """Leave the block, and start the job again at a time."""

    def set_result(self, result: Any) -> None:
        """Set the job's result."""
        self.result = result

    @property
    def cancelled(self) -> bool:
        """Whether the job should end: if so, clean up and return within `Settings.cancel_grace_seconds`."""
        return delivery.current().cancelled(self.job.claim_token)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.job, name)

    def __repr__(self) -> str:
        return f"ClaimedJob({self.job!r})"


class Scoped(Claiming):
    """Ends a claim together with the block that it was made for."""

    @contextmanager
    def claimed(
        self,
        job_id: str,
        *,
        celery_task_id: str | None = None,
        worker_id: str | None = None,
        attempt: int | None = None,
    ) -> Iterator[ClaimedJob | None]:
        """Claim a job for a block, and end its attempt when the block ends.

        ::

            with repo.claimed(job_id) as job:
                if job is None:
                    return SKIPPED  # another worker has it: that is normal
                job.effects.put(TableName="invoices", Item=...)
                job.set_result(work(job.payload))

        A return completes the job with the result that was set and the effects that were collected; a refused effect
        fails it with `EffectRefused`. An exception fails it, with its kind and its traceback, and propagates. Celery's
        ``Retry`` schedules another attempt; in a worker, so does ``Reject`` with ``requeue``, and ``Ignore`` cancels
        the job. An outcome that the block recorded itself is kept. A wait (``job.wait_for``, ``job.sleep``) leaves the
        block without an exception: the code after the block runs, and the block runs again from its beginning when the
        wait ends. Parameters and errors are those of `claim_job`; the end of the block raises as `update_status`.

        Yields
        ------
        ClaimedJob or None
            The job with its payload; ``None`` if the claim was refused.
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
            self._end_raised(job, suspended)  # an outer job waits: its body leaves this block
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
        """Record what the block raised; if that cannot be written, log it, because the block's own error propagates."""
        try:
            is_retry = RETRY in {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
            cause = getattr(error, "exc", None) if is_retry else error
            if is_retry and job.attempts_left:
                self.reschedule(job.job_id, error=cause, token=job.claim_token)
            elif isinstance(error, JobCancelled):
                self.update_status(job.job_id, JobStatus.CANCELLED, error=error, token=job.claim_token)
            else:
                self.update_status(job.job_id, JobStatus.FAILED, error=cause, token=job.claim_token)
        except (ClaimLost, JobNotFound) as lost:
            log.warning("claim.lost", outcome=str(JobStatus.FAILED), reason=str(lost))
        except StoreUnavailable as unavailable:
            log.error(
                "job.outcome_not_recorded",
                outcome=str(JobStatus.FAILED),
                reason=str(unavailable),
            )
