"""`JobRepo`: the whole life of a job, every write conditional. This is what users' code calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import structlog

from jobs import checks, dead, lifecycle
from jobs.claims import ClaimBook, new_token
from jobs.clock import Clock, system_clock
from jobs.connect import PerProcess
from jobs.errors import (
    ClaimLost,
    IllegalTransition,
    InvalidInput,
    JobNotFound,
    NotClaimed,
    PayloadTooLarge,
    StoreUnavailable,
)
from jobs.expressions import Change, Increment, PlusAttribute
from jobs.failures import describe
from jobs.large import Large
from jobs.listing import list_page, state_keys
from jobs.model import Failure, FailureKind, Job, JobStatus, OnOrphan, Page
from jobs.submission import Submission, check_same_call, lease_ms, new_job, queue_name
from jobs.table import JobTable, Written
from jobs.transitions import Move, owner_move
from settings import Settings

log = structlog.get_logger("jobclaim.jobs")

UNCHANGED: Final[Any] = object()
"""Stands for "as before" where ``None`` is a value."""
SUBMIT_ROUNDS: Final = 5
"""Times that a submission is tried whose id is taken by a job that changes or is deleted at that moment."""


class JobRepo:
    """Submit, claim and end jobs.

    A repo remembers the claims that were made through it, thread-safely, so that ``update_status(job_id, "COMPLETED")``
    after ``claim_job(job_id)`` is fenced by that claim.

    Parameters
    ----------
    client : optional
        A boto3 DynamoDB client; default: made from settings on first use, in each process anew.
    table_name : str, optional
        Default `Settings.job_table`.
    settings : Settings, optional
        Without settings every legal queue name is accepted.
    clock : Clock
        Gives epoch milliseconds.
    sleep : callable
        Waits that many seconds between tries of a request.
    """

    def __init__(
        self,
        client: Any = None,
        table_name: str | None = None,
        *,
        settings: Settings | None = None,
        clock: Clock = system_clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = known = settings or Settings()
        self.clock = clock
        self._any_queue = settings is None
        self._claims = ClaimBook()
        self.large = Large(known)
        self.retention = lifecycle.Retention(
            completed=round(known.completed_retention_days * 86_400_000),
            dead=round(known.dead_retention_days * 86_400_000),
            retry_after=lambda job, kind: dead.rule_of(job, kind, known).delay_seconds(job.dead_retries),
        )
        own = PerProcess(lambda: _connect(known))
        self.table = JobTable(
            (lambda: client) if client is not None else own.get,
            table_name or known.job_table,
            clock=clock,
            shards=known.index_shards,
            index_completed=known.index_completed,
            sleep=sleep,
        )

    @classmethod
    def from_settings(cls, settings: Settings, *, client: Any = None, clock: Clock = system_clock) -> JobRepo:
        """Make a repo on the table, endpoint and queues of the settings."""
        return cls(client, settings=settings, clock=clock)

    # --- submission
    def create_job(
        self,
        task: str,
        payload: Any = None,
        *,
        queue: str | None = None,
        idempotency_key: str | None = None,
        ttl: float | None = None,
        available_at: int | datetime | None = None,
        job_id: str | None = None,
        max_attempts: int | None = None,
        on_orphan: OnOrphan | None = None,
        hard_limit: int | None = None,
        fingerprint: str | None = None,
        start_by: int | datetime | None = None,
        envelope: str = "",
        failure_policy: str = "",
    ) -> Job:
        """Write a PENDING job. Costs one request and, at 1 KB, two write units (one of them in the index).

        Parameters
        ----------
        payload
            Plain JSON values.
        queue : str, optional
            Default: where settings route the task.
        idempotency_key : str, optional
            Equal keys of one task are one job: while it is open, and for ``ttl`` seconds after it completed. A failed
            or cancelled one is run anew.
        ttl : float, optional
            Seconds; default `Settings.idempotency_ttl_seconds`.
        available_at : int or datetime, optional
            When it may start: epoch milliseconds, or an aware datetime. Default now.
        max_attempts, on_orphan : optional
            Default those of settings.
        hard_limit : int, optional
            The task's hard time limit, seconds, from which the lease follows; default that of task and queue in
            settings.
        fingerprint : str, optional
            Stands for the arguments when equal keys are compared; default a hash of the payload.
        start_by : int or datetime, optional
            A job that is not started by then never is: it ends CANCELLED. Epoch milliseconds, or an aware datetime.
        envelope : str
            Text that the caller wants on each of the job's messages.
        failure_policy : str
            What follows a failure, where the task says so itself: made by `jobs.dead.seal_policy`.

        Returns
        -------
        Job
            ``job.created`` is ``False`` where an equal job was there already; it then comes with its state and result.

        Raises
        ------
        InvalidInput, InvalidPayload, PayloadTooLarge, IdempotencyMismatch, StoreUnavailable
            Nothing was written (after `StoreUnavailable` it may have been: submit again under the same key or id).
        """
        asked = Submission(
            task=task,
            payload=payload,
            queue=queue,
            job_id=job_id,
            idempotency_key=idempotency_key,
            ttl=ttl,
            fingerprint=fingerprint,
            available_at=available_at,
            max_attempts=max_attempts,
            on_orphan=on_orphan,
            hard_limit=hard_limit,
            start_by=start_by,
            envelope=envelope,
            failure_policy=failure_policy,
        )
        try:
            job = new_job(asked, self.settings, self.clock, any_queue=self._any_queue)
        except PayloadTooLarge:
            if not self.large.enabled:
                raise
            asked = replace(asked, payload=self.large.fitting(payload, "payload", self.settings.max_payload_bytes))
            job = new_job(asked, self.settings, self.clock, any_queue=self._any_queue)
        job = self._submit(job)
        return replace(job, payload=payload) if job.created else self.large.readable(job)

    def _submit(self, job: Job) -> Job:
        """Put the job, or run it anew in the place of an ended one; every refused write tells what to do next."""
        existing, after = None, job
        for _ in range(SUBMIT_ROUNDS):
            written = self._move(existing, Move.RESUBMIT, after) if existing else self.table.put_new(job)
            existing = written.job
            if written.applied or (existing and existing.submission == job.submission):  # or only the answer was lost
                return after
            if existing and lifecycle.is_late(existing, self.clock()):
                existing = self._end_late(existing)
            if existing and self._answers(existing, job):
                return lifecycle.as_duplicate(existing)
            after = lifecycle.resubmitted(existing, job) if existing else job
        raise StoreUnavailable(f"job {job.job_id!r} changed {SUBMIT_ROUNDS} times while it was submitted; submit again")

    def _answers(self, existing: Job, asked: Job) -> bool:
        """Whether the job that has the id already is the one that is asked for; else its time is over."""
        now = self.clock()
        if lifecycle.is_gone(existing, now):
            return False
        if asked.idempotency_key and not lifecycle.answers_duplicate(existing, now):
            return False
        check_same_call(existing, asked)
        return True

    # --- claims
    def claim_job(
        self,
        job_id: str,
        *,
        celery_task_id: str | None = None,
        worker_id: str | None = None,
        attempt: int | None = None,
        token: str | None = None,
    ) -> Job | None:
        """Take a PENDING job: one conditional write, one write unit, no read. At most one caller succeeds per attempt.

        Parameters
        ----------
        attempt : int, optional
            The attempt that the message names (claims before this one); a stale message is refused.
        token : str, optional
            The claim's token, where the caller must know it beforehand; never one that was used before.

        Returns
        -------
        Job or None
            The job with its payload; ``None`` when somebody else has it, or it is over: that is normal, skip it.

        Raises
        ------
        JobNotFound, InvalidInput, StoreUnavailable
            After `StoreUnavailable` the job may be claimed; recovery finds it when the lease is over.
        """
        written = self._claim(job_id, celery_task_id, worker_id, attempt, token)
        return self._with_payload(written.job) if written.applied and written.job else None

    def conditional_update_status_to_processing(
        self, job_id: str, celery_task_id: str | None = None, expected_status: str = "PENDING"
    ) -> tuple[bool, Job]:
        """Take a PENDING job, as `claim_job`; say whether it worked, and give the job as it is now.

        Raises
        ------
        IllegalTransition
            ``expected_status`` is not PENDING: no other state may be claimed.
        """
        if checks.status(expected_status) is not JobStatus.PENDING:
            raise IllegalTransition(f"expected_status={expected_status!r}: only a PENDING job can be claimed")
        written = self._claim(job_id, celery_task_id, None, None, None)
        assert written.job is not None
        return written.applied, self._with_payload(written.job) if written.applied else written.job

    def _with_payload(self, job: Job) -> Job:
        """Read a large payload of a job that was just claimed; where S3 does not answer, give the job back."""
        try:
            return self.large.restored(job)
        except StoreUnavailable:
            self.release(job.job_id, reason="its payload could not be read", started=False, token=job.claim_token)
            raise

    def _claim(
        self, job_id: str, celery_task_id: str | None, worker_id: str | None, attempt: int | None, token: str | None
    ) -> Written:
        now = self.clock()
        token = checks.optional_text(token, "token", checks.MAX_TOKEN) or new_token()
        changes: dict[str, Change] = {
            "claim_token": token,
            "claimed_at": now,
            "lease_expires_at": PlusAttribute(now, "lease_ms"),
            "worker_id": checks.optional_text(worker_id, "worker_id") or None,
            "celery_task_id": checks.optional_text(celery_task_id, "celery_task_id") or None,
            "attempt": Increment(1),
            "charged": Increment(1),
        }
        expected = {"now": now}
        if attempt is not None:
            expected["attempt"] = checks.count(attempt, "attempt", least=0)
        written = self.table.move(checks.text(job_id, "job_id"), Move.CLAIM, expected=expected, changes=changes)
        job = written.job
        if job is None:
            raise JobNotFound(job_id)
        if not written.applied and job.status is JobStatus.PROCESSING and job.claim_token == token:
            written = Written(True, job)  # the first try had succeeded, only its answer was lost
        if written.applied:
            self._claims.remember(job)
            if self.clock() >= job.lease_expires_at:
                written = Written(False, self._give_back(job))
        elif lifecycle.is_late(job, now):
            written = Written(False, self._end_late(job))
        else:
            log.info("already claimed", status="SKIPPED", job_status=str(job.status), **job.log_context())
        return written

    def _give_back(self, job: Job) -> Job:
        """Release a claim whose answer came when its lease was over; give the job as it is now, as far as known.

        The process or its line stood still for that long. Recovery may have let the next attempt start: this one's
        body must not run beside it, and where recovery has not come yet, nothing has happened that it must fear.
        """
        log.warning("claim answered after its lease", status="SKIPPED", **job.log_context())
        try:
            return self.release(
                job.job_id, reason="its claim was answered too late", started=False, token=job.claim_token
            )
        except (ClaimLost, JobNotFound, StoreUnavailable):
            return job

    def _end_late(self, job: Job) -> Job:
        """Cancel a job that was not started in time; give it as it is now, whoever ended it."""
        after = lifecycle.late(job, self.clock(), self.retention)
        written = self._move(job, Move.CANCEL, after)
        if written.applied:
            log.warning("not started in time", status="SKIPPED", start_by=job.start_by, **job.log_context())
        return after if written.applied else written.job or job

    # --- the claim's owner
    def update_status(
        self,
        job_id: str,
        status: str | JobStatus,
        *,
        result: Any = None,
        error: BaseException | str | Failure | None = None,
        kind: FailureKind | None = None,
        ttl: float | None = None,
        token: str | None = None,
    ) -> Job:
        """End the attempt that this repo claimed: COMPLETED, FAILED or CANCELLED. Tried again until the lease ends.

        Parameters
        ----------
        result
            Plain JSON values; with COMPLETED only.
        error : exception, str or Failure, optional
            With FAILED only.
        ttl : float, optional
            With COMPLETED only: seconds for which the job answers equal submissions, instead of what was submitted.
        token : str, optional
            Token of the claim; default the last claim of this repo on the job. Needed where one process may claim a job
            again while an older attempt of it is still running.

        Raises
        ------
        NotClaimed
            No claim was made through this repo.
        ClaimLost
            The claim is over: the lease ended and recovery acted, or somebody else has it. Nothing was changed.
        IllegalTransition, InvalidPayload, PayloadTooLarge, StoreUnavailable
        """
        wanted = checks.status(status)
        move = owner_move(wanted)
        if move is None or wanted is JobStatus.PENDING:
            raise IllegalTransition(f"update_status cannot make a job {wanted}; use claim_job, reschedule or release")
        if result is not None and wanted is not JobStatus.COMPLETED:
            raise InvalidInput(f"result goes with COMPLETED, not with {wanted}; pass error instead")
        if error is not None and wanted is JobStatus.COMPLETED:
            raise InvalidInput("error goes with FAILED, not with COMPLETED; pass result instead")
        claim, now = self._claim_on(job_id, wanted, token), self.clock()
        if wanted is JobStatus.COMPLETED:
            result = self.large.fitting(result, "result", self.settings.max_result_bytes)
            window = claim.idempotency_ttl if ttl is None else checks.positive(ttl, "ttl", checks.MAX_WINDOW_SECONDS)
            done = lifecycle.completed(replace(claim, idempotency_ttl=window), result, now, self.retention)
            return self._end(claim, move, done)
        cancelled = FailureKind.CANCELLED if wanted is JobStatus.CANCELLED else None
        failure = describe(error, now, kind or cancelled, task=claim.task)
        return self._end(claim, move, lifecycle.ended_badly(claim, move, wanted, failure, now, self.retention))

    def reschedule(
        self,
        job_id: str,
        *,
        available_at: int | datetime | None = None,
        error: BaseException | str | Failure | None = None,
        kind: FailureKind | None = None,
        payload: Any = UNCHANGED,
        queue: str | None = None,
        token: str | None = None,
    ) -> Job:
        """End the attempt and let another follow at ``available_at``: a retry, charged. The caller sends its message.

        Parameters
        ----------
        payload, queue : optional
            Of the attempts that follow; default as before.

        Raises as `update_status`, and `InvalidInput` or `InvalidPayload` before anything is written.
        """
        claim, now = self._claim_on(job_id, JobStatus.PENDING, token), self.clock()
        at = max(now, checks.moment(available_at, "available_at", now))
        failure = describe(error, now, kind, task=claim.task) if error is not None else None
        after = lifecycle.pending_again(claim, Move.RETRY, failure, now, at, charge=True)
        if payload is not UNCHANGED:
            payload = self.large.fitting(payload, "payload", self.settings.max_payload_bytes)
            after = replace(after, payload=payload)
        if queue is not None:
            name = queue_name(queue, claim.task, self.settings, self._any_queue)
            longest = max(claim.lease_ms, lease_ms(None, name, claim.task, self.settings))
            after = replace(after, queue=name, lease_ms=longest)
        return self._end(claim, Move.RETRY, after)

    def release(
        self,
        job_id: str,
        *,
        available_at: int | datetime | None = None,
        reason: str = "",
        started: bool = True,
        slot: int = 0,
        token: str | None = None,
    ) -> Job:
        """Give the job back without charging the attempt: a shutdown, a snooze, a limit. The caller sends its message.

        Parameters
        ----------
        started : bool
            ``False`` where the body did not run: the job may then still become too late to start (``start_by``).
        slot : int
            Turn that a rate limit reserved for the next attempt, epoch milliseconds.

        Raises as `update_status`.
        """
        claim, now = self._claim_on(job_id, JobStatus.PENDING, token), self.clock()
        at = max(now, checks.moment(available_at, "available_at", now))
        failure = describe(reason, now, FailureKind.TRANSIENT) if reason else None
        after = lifecycle.pending_again(
            claim, Move.RELEASE, failure, now, at, charge=False, started=started, slot=checks.moment(slot, "slot", now)
        )
        return self._end(claim, Move.RELEASE, after)

    def _claim_on(self, job_id: str, wanted: JobStatus, token: str | None) -> Job:
        held = self._claims.get(checks.text(job_id, "job_id"))
        if token is not None:
            checks.text(token, "token", checks.MAX_TOKEN)
        if held is not None and token in (None, held.claim_token):
            return held
        if token is None:
            raise NotClaimed(job_id, wanted)
        job = self.get_job(job_id)  # claimed elsewhere, by whoever gave us the token
        if job.status is not JobStatus.PROCESSING or job.claim_token != token:
            raise _lost(job_id, job)
        return job

    def _end(self, claim: Job, move: Move, after: Job) -> Job:
        written = self._move(claim, move, after, until=claim.lease_expires_at)
        self._claims.forget(claim.job_id, claim.claim_token)
        if written.applied:
            return after
        if written.job is not None and lifecycle.is_mine(written.job, after, move):
            return written.job if written.job.status is after.status else after  # else the job has gone on since
        raise _lost(claim.job_id, written.job)

    # --- people
    def retry_job(
        self,
        job_id: str,
        *,
        available_at: int | datetime | None = None,
        by: str = "a person",
        reason: str = "",
    ) -> Job:
        """Start a FAILED job again, with all its attempts before it. The caller sends its message, or recovery does.

        Parameters
        ----------
        by, reason : str
            Kept with the job: who wants it, and why.

        Raises
        ------
        IllegalTransition
            It is not FAILED, or somebody retried it just now.
        """
        job, now = self.get_job(job_id), self.clock()
        if job.status is not JobStatus.FAILED:
            raise IllegalTransition(f"job {job_id!r} is {job.status}; only a FAILED job can be retried")
        at = max(now, checks.moment(available_at, "available_at", now))
        after = lifecycle.revived(job, now, at, by=by, why=reason)
        written = self._move(job, Move.REVIVE, after)
        if written.applied or (written.job is not None and written.job.submission == after.submission):
            return after
        raise _changed(job_id, "retried", written.job)

    def cancel_job(self, job_id: str, *, reason: str = "cancelled by a person") -> Job:
        """Cancel a PENDING job; one that is cancelled already is given back as it is.

        Raises
        ------
        IllegalTransition
            It is running or over.
        """
        job, now = self.get_job(job_id), self.clock()
        if job.status is JobStatus.CANCELLED:
            return job
        if job.status is not JobStatus.PENDING:
            raise IllegalTransition(f"job {job_id!r} is {job.status}; only a PENDING job can be cancelled here")
        failure = describe(reason, now, FailureKind.CANCELLED)
        after = lifecycle.ended_badly(job, Move.CANCEL, JobStatus.CANCELLED, failure, now, self.retention)
        written = self._move(job, Move.CANCEL, after)
        if written.applied:
            return after
        if written.job is not None and written.job.status is JobStatus.CANCELLED:
            return written.job
        raise _changed(job_id, "cancelled", written.job)

    # --- reading
    def get_job(self, job_id: str) -> Job:
        """Read one job, consistently: one request.

        Raises
        ------
        JobNotFound
            Also where its retention is over and DynamoDB has not yet deleted it.
        """
        job = self.table.get(checks.text(job_id, "job_id"))
        if job is None or lifecycle.is_gone(job, self.clock()):
            raise JobNotFound(job_id)
        return self.large.readable(job)

    def list_jobs(
        self, status: str | JobStatus, *, queue: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page:
        """List jobs by state: open ones by their due time, ended ones newest first. Bounded requests, never a scan.

        A page may be short before the end where many jobs do not match; ``page.cursor`` is ``None`` only at the end.

        Raises
        ------
        InvalidInput
            An unknown cursor, a limit outside 1 to 1,000, or completed jobs that the table does not list.
        """
        wanted, now = checks.status(status), self.clock()
        checks.count(limit, "limit", most=1000)
        if queue is not None:
            queue = checks.text(queue, "queue")
        if wanted is JobStatus.COMPLETED and not self.settings.index_completed:
            raise InvalidInput(
                "completed jobs are not listed in this table; set JOBCLAIM_INDEX_COMPLETED=true, a write unit per job"
            )
        return list_page(
            self.table,
            state_keys(wanted, [queue] if queue else list(self.settings.queue_names), self.table.shards),
            scope=f"{wanted} in {queue or 'all queues'}",
            keep=lambda job: job.status is wanted and queue in (None, job.queue) and not lifecycle.is_gone(job, now),
            limit=limit,
            newest_first=not wanted.is_open,
            cursor=cursor,
        )

    def _move(self, before: Job, move: Move, after: Job, until: int | None = None) -> Written:
        table = self.table
        difference = lifecycle.changes(before, after, shards=table.shards, index_completed=table.index_completed)
        return table.move(before.job_id, move, expected=lifecycle.as_read(before), changes=difference, until=until)


def _connect(settings: Settings) -> Any:
    from jobs.connect import client
    from jobs.lean import lean

    return lean(client(settings, "dynamodb"))


def _lost(job_id: str, now: Job | None) -> ClaimLost:
    where = f"it is {now.status} in attempt {now.attempt}" if now else "it is gone"
    return ClaimLost(f"the claim on job {job_id!r} is over: {where}; nothing was changed, drop this attempt's outcome")


def _changed(job_id: str, verb: str, now: Job | None) -> IllegalTransition:
    where = f"it is {now.status} now" if now else "it is gone"
    return IllegalTransition(
        f"job {job_id!r} was not {verb}: it changed meanwhile, {where}; look again and decide anew"
    )
