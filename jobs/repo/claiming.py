"""Claims: which caller gets a job, and what happens to a claim that arrives too late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from jobclaim.jobs import checks
from jobclaim.jobs.encoding.changes import Change, Increment, PlusAttribute
from jobclaim.jobs.errors import (
    ClaimLost,
    IllegalTransition,
    JobNotFound,
    JobUnreadable,
    StoreUnavailable,
)
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.protocol.claims import new_token
from jobclaim.jobs.protocol.releases import Held, release_of
from jobclaim.jobs.repo import delivery
from jobclaim.jobs.repo.handing import Handing
from jobclaim.jobs.storage.pauses import Pauses
from jobclaim.jobs.storage.written import Written
from jobclaim.jobs.transitions import Move

log = get_logger("jobclaim.jobs")

EARLY_MS: Final = 120_000
"""Tolerated difference of two machines' clocks: a worker claims no job that is due later than this by its own clock."""
NEVER_STARTED: Final = "its claim was not answered, so its body never started"


def early(job: Job, now: int) -> bool:
    """Check whether a job is due later than a clock difference can explain."""
    return job.status is JobStatus.PENDING and job.available_at > now + EARLY_MS


class Claiming(Handing):
    """Claims jobs."""

    def claim_job(
        self,
        job_id: str,
        *,
        celery_task_id: str | None = None,
        worker_id: str | None = None,
        attempt: int | None = None,
        token: str | None = None,
        refused: Callable[[Job], object] | None = None,
        detached: bool = False,
        task: str | None = None,
        when_due: bool | None = None,
    ) -> Job | None:
        """Claim a PENDING job: one conditional write, one write unit. At most one caller succeeds per attempt.

        In the body of a worker's task the claim is recorded with its worker and Celery task automatically, and the
        worker supervises it: a lost process, a time limit, a cancel or a stop ends the job as it ends a `JobTask`'s,
        and an exception from the body, or its return without an outcome, is recorded. Elsewhere only the lease bounds
        the claim.

        While a person has paused the job's task or queue the claim is refused, and the job stays PENDING. A worker
        knows the pauses from its heartbeat; another program reads them, once per `Settings.heartbeat_seconds` at most.

        Parameters
        ----------
        celery_task_id, worker_id : str, optional
            Who claims. Default, in a worker's task: that task and worker.
        attempt : int, optional
            The attempt that the message names (number of earlier claims); a stale message is refused. Default, in a
            worker's task: what its message says about this job.
        token : str, optional
            The claim's token, where the caller must know it beforehand; never reuse one.
        refused : callable, optional
            Called with the current job when the claim is refused.
        task : str, optional
            The task that is about to run; a job of another task is refused. Default, in a worker's task: that task, if
            its message names this job. The message says which job, and the job says what runs.
        when_due : bool, optional
            Refuse a job before its ``available_at``, allowing for clock differences (`EARLY_MS`). Default: only in a
            worker's task.
        detached : bool
            The work ends elsewhere, in the code that gets the claim's token: the body may return without an outcome,
            and no worker is recorded, so that only the lease bounds the claim.

        Returns
        -------
        Job or None
            The job with its payload; ``None`` when another worker has it or it has ended. This is normal: skip the job.

        Raises
        ------
        JobNotFound, InvalidInput, StoreUnavailable
            After `StoreUnavailable` the job may have been claimed anyway. The repo releases it after its next claim,
            unless the caller passed the token and does so itself; otherwise recovery does when the lease ends.
        """
        written = self._with_payload(
            self._claim(job_id, celery_task_id, worker_id, attempt, token, task, when_due, detached=detached)
        )
        if written.job and not written.applied and refused:
            refused(written.job)
        return written.made

    def conditional_update_status_to_processing(
        self,
        job_id: str,
        celery_task_id: str | None = None,
        expected_status: str = "PENDING",
        *,
        detached: bool = False,
    ) -> tuple[bool, Job]:
        """Claim a PENDING job as `claim_job` does; return whether that succeeded, and the current job.

        Raises
        ------
        IllegalTransition
            ``expected_status`` is not PENDING: a job in any other state cannot be claimed.
        """
        if checks.status(expected_status) is not JobStatus.PENDING:
            raise IllegalTransition(
                f"expected_status={expected_status!r} is not possible, because only a PENDING job can be claimed; "
                'pass "PENDING" or leave it out'
            )
        written = self._with_payload(self._claim(job_id, celery_task_id, None, None, None, detached=detached))
        assert written.job is not None
        return written.applied, written.job

    def _with_payload(self, written: Written) -> Written:
        """Read the large payload of a job that was just claimed; release the job if S3 fails or answers too late."""
        job = written.made
        if job is None:
            return written
        try:
            restored = self.large.restored(job)
        except StoreUnavailable:
            self.release(
                job.job_id,
                reason="its payload could not be read",
                held=Held.STORE,
                started=False,
                token=job.claim_token,
            )
            raise
        if restored is job:
            return written
        if self.clock() >= job.lease_expires_at:
            return Written(False, self._release_late(job))
        # hooks that run at the job's end get the payload itself; the checkpoint must be written back as it is stored
        self._claims.remember(replace(restored, checkpoint=job.checkpoint))
        return Written(True, restored)

    def _claim(
        self,
        job_id: str,
        celery_task_id: str | None,
        worker_id: str | None,
        attempt: int | None,
        token: str | None,
        task: str | None = None,
        when_due: bool | None = None,
        *,
        detached: bool = False,
    ) -> Written:
        job_id, where = checks.text(job_id, "job_id"), delivery.current()
        known = checks.optional_text(token, "token", checks.MAX_TOKEN)
        token = known or new_token()
        if not where.may_claim():
            return self._not_now(job_id)
        celery_task_id = celery_task_id or where.celery_task_id
        worker_id = worker_id or ("" if detached else where.worker_id)
        attempt = where.attempt_of(job_id) if attempt is None else attempt
        shared = where.pauses() or self.pauses.shared()
        pauses = shared or self.pauses.current()
        now = self.clock()
        changes: dict[str, Change] = {
            "claim_token": token,
            "claimed_at": now,
            "lease_expires_at": PlusAttribute(now, "lease_ms"),
            "worker_id": checks.optional_text(worker_id, "worker_id") or None,
            "celery_task_id": checks.optional_text(celery_task_id, "celery_task_id") or None,
            "attempt": Increment(1),
            "charged": Increment(1),
        }
        expected: dict[str, str | int] = {"now": now}
        if attempt is not None:
            expected["attempt"] = checks.count(attempt, "attempt", least=0, most=checks.MAX_ATTEMPT)
        if task := where.task_of(job_id) if task is None else checks.text(task, "task"):
            expected["task"] = task
        if where.waits if when_due is None else when_due:
            expected["due"] = now + EARLY_MS
        after = Job(job_id=job_id, task="", queue="", status=JobStatus.PROCESSING, claim_token=token)
        # workers do not poll a paused queue, but a message received before the pause may still start its job
        barred = pauses.barred(now, queues=attempt is None or shared is None)
        written = self._reported(
            delivery.NOWHERE if detached else where,
            after,
            lambda: self.table.move(job_id, Move.CLAIM, after, expected=expected, changes=changes, barred=barred),
            resolves=not known,
        )
        self._release_unanswered()
        return self._answered(job_id, written, expected, pauses)

    def _answered(self, job_id: str, written: Written, expected: Mapping[str, str | int], pauses: Pauses) -> Written:
        job, now = written.job, int(expected["now"])
        if job is None:
            raise JobNotFound(job_id)
        if written.applied:
            if self.clock() >= job.lease_expires_at:
                return Written(False, self._release_late(job))
        elif lifecycle.is_late(job, now):
            return Written(False, self._end_late(job))
        elif job.task != expected.get("task", job.task):
            log.error("claim.task_mismatch", asked=expected["task"], **job.log_context())
        elif early(job, now) and "due" in expected:
            log.warning("claim.too_early", available_at=job.available_at, **job.log_context())
        elif job.status is JobStatus.PENDING and (pause := pauses.holding(job, now)) is not None:
            log.info("claim.held", status="SKIPPED", paused=pause.subject, by=pause.by, **job.log_context())
        else:
            log.info("claim.refused", status="SKIPPED", job_status=str(job.status), **job.log_context())
        return written

    def _release_unanswered(self) -> None:
        """Release claims whose answer was lost although they were made, now that DynamoDB answers again."""
        while (unanswered := self._claims.take_unanswered()) is not None:
            job_id, token = unanswered
            try:
                job = self.table.get_many([job_id], consistent=True).get(job_id)
                if job is None or job.status is not JobStatus.PROCESSING or job.claim_token != token:
                    continue
                now = self.clock()
                released = release_of(job, Held.LATE, NEVER_STARTED, now)
                after = lifecycle.pending_again(
                    job, Move.RELEASE, None, now, now, charge=False, started=False, released=released
                )
                self.table.apply(job, Move.RELEASE, after)
            except StoreUnavailable:
                self._claims.add_unanswered(job_id, token)
                return

    def _not_now(self, job_id: str) -> Written:
        """Refuse a claim while the worker's heartbeats fail: recovery may soon take over its jobs."""
        log.error("claim.paused", job_id=job_id)
        return Written(False, self.get_job(job_id, large=False))

    def _release_late(self, job: Job) -> Job:
        """Release a claim whose answer came after its lease had ended; return the current job, as far as it is known.

        The process or its connection was stalled for that long. Recovery may have let the next attempt start, so this
        one's body must not run beside it. If recovery has not acted yet, nothing was executed, so nothing is charged.
        """
        log.warning("claim.answered_late", status="SKIPPED", **job.log_context())
        try:
            return self.release(
                job.job_id,
                reason="its claim was answered after its lease had ended",
                held=Held.LATE,
                started=False,
                token=job.claim_token,
            )
        except (ClaimLost, JobNotFound, StoreUnavailable):
            return job

    def _reported(
        self, where: delivery.Delivery, wanted: Job, move: Callable[[], Written], *, resolves: bool
    ) -> Written:
        """Register a claim with the delivery, request it, and report what became of it.

        After `StoreUnavailable` the claim may have been made, so it stays registered until the delivery ends. A caller
        that passed the token resolves the doubt itself; otherwise the repo does (``resolves``).
        """
        where.asks(wanted.job_id, wanted.claim_token)
        try:
            written = move()
            if written.applied and written.job:
                self._claims.remember(written.job)
                where.claimed(self, written.job)
            else:
                where.refused(wanted.job_id, wanted.claim_token)
        except StoreUnavailable:
            if resolves:
                self._claims.add_unanswered(wanted.job_id, wanted.claim_token)
            raise
        except Exception as error:
            if isinstance(error, JobUnreadable):  # made or refused, what the answer holds was not understood
                self.table.release_unread(wanted.job_id, wanted.claim_token)
            where.refused(wanted.job_id, wanted.claim_token)
            raise
        return written
