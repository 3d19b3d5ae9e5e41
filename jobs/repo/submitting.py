"""Submission: one conditional put, which is the whole deduplication."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.marks import refuse_mark
from jobclaim.jobs.errors import (
    PayloadTooLarge,
    StoreUnavailable,
)
from jobclaim.jobs.model import Job, OnOrphan
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.protocol.submission import Submission, check_same_call, check_same_payload, new_job
from jobclaim.jobs.repo.joining import NewJob, joined
from jobclaim.jobs.repo.store import Store
from jobclaim.jobs.repo.transaction import Transaction
from jobclaim.jobs.storage.written import Written
from jobclaim.jobs.transitions import Move


class Submitting(Store):
    """Creates jobs."""

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
        tags: Iterable[str] | None = None,
        must_match: bool = True,
        settle: Callable[[Job], object] | None = None,
    ) -> Job:
        """Write a PENDING job. Costs one request and, at 1 KB, two write units (one of them in the index).

        Parameters
        ----------
        payload
            Plain JSON values.
        queue : str, optional
            Default: the queue that settings route the task to.
        idempotency_key : str, optional
            Equal keys of one task are one job while it is open and for ``ttl`` seconds after it completed. A failed or
            cancelled job is run anew.
        ttl : float, optional
            Window of the key, seconds; default `Settings.idempotency_ttl_seconds`.
        available_at : int or datetime, optional
            Earliest start: epoch milliseconds, or an aware datetime. Default: now.
        max_attempts, on_orphan : optional
            Default: the values in settings.
        hard_limit : int, optional
            The task's hard time limit in seconds, which determines the lease; default: that of task and queue in
            settings.
        fingerprint : str, optional
            Represents the arguments when equal keys are compared; default: a hash of the payload.
        start_by : int or datetime, optional
            Latest start: a job that is not started by then ends CANCELLED. Epoch milliseconds, or an aware datetime.
        envelope : str
            Text that the caller wants on each of the job's messages.
        failure_policy : str
            What follows a failure, if the task defines it; made by `jobclaim.jobs.failures.dead.seal_policy`.
        tags : iterable of str, optional
            Words by which people find the job, such as ``customer:42``: at most 10, each of at most 64 ASCII letters,
            digits and ``_ . : / = @ + -``.
        must_match : bool
            Refuse a ``job_id`` whose job has a different payload, instead of returning that job.
        settle : callable, optional
            Called with the job that is returned, once it is written (in a transaction: at its end); it may refuse a job
            that existed already.

        Returns
        -------
        Job
            ``job.created`` is ``False`` if an equal job existed already; it is returned with its state and result.

        Raises
        ------
        InvalidInput, InvalidPayload, PayloadTooLarge, IdempotencyMismatch, StoreUnavailable
            Nothing was written (after `StoreUnavailable` it may have been: submit again with the same key or id).
        """
        refuse_mark(payload, "payload")
        text = codec.encode(payload)
        submission = Submission(
            task=task,
            payload=payload,
            text=text,
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
            tags=tags,
        )
        try:
            job = self.large.beside(new_job(submission, self.settings, self.clock, any_queue=self._any_queue), text)
        except PayloadTooLarge:
            mark = self.large.fitting(payload, "payload", self.settings.max_payload_bytes)
            submission = replace(submission, payload=mark, text=None)
            job = new_job(submission, self.settings, self.clock, any_queue=self._any_queue)
        matches = partial(check_same_payload, new=job, text=text) if must_match and job_id is not None else None
        new = NewJob(job, payload, submission.text, partial(_settle, matches, settle))
        if (whole := joined()) is not None:
            return _with_payload(whole.plan(self, new), payload)
        return self.write(new)

    def write(self, new: NewJob, put: Callable[[], Written] | None = None) -> Job:
        """Write a planned job; ``put`` makes its first write, where that was begun with those of other jobs.

        Returns and raises as `create_job`.
        """
        job = self._submit(new.job, put or partial(self.table.apply, None, Move.SUBMIT, new.job))
        self.count_submission(created=job.created)
        job = _with_payload(job, new.payload) if job.created else self.large.readable(job)
        new.settle(job)
        return job

    def transaction(self) -> Transaction:
        """Begin a transaction: the caller's writes and new jobs, written together when its block ends, or not at all.

        ::

            with repo.transaction() as tx:
                tx.put(TableName="orders", Item={"order_id": "7"}, ConditionExpression="attribute_not_exists(order_id)")
                job = tx.create_job("shop.process_order", {"order_id": "7"})
        """
        return Transaction(self)

    def ended_if_late(self, existing: Job | None) -> Job | None:
        """Return the current job with a new one's id; a job past its ``start_by`` is ended first."""
        return self._end_late(existing) if existing and lifecycle.is_late(existing, self.clock()) else existing

    def answer_for(self, requested: Job, existing: Job | None) -> Job | None:
        """Return the job that answers for a new one, with its result; ``None`` if its window has expired.

        Raises
        ------
        IdempotencyMismatch
        """
        if existing is None or not self._answers(existing, requested):
            return None
        return self.large.readable(lifecycle.as_duplicate(existing))

    def _submit(self, job: Job, put: Callable[[], Written]) -> Job:
        """Put the job, or run it anew in the place of an ended one; a refused write determines the next step."""
        after = job
        for _ in range(lifecycle.SUBMIT_ROUNDS):
            written = put()
            if written.applied:
                return after
            existing = self.ended_if_late(written.job)
            if existing and self._answers(existing, job):
                return lifecycle.as_duplicate(existing)
            after = lifecycle.resubmitted(existing, job) if existing else job
            put = partial(self.table.apply, existing, Move.SUBMIT, after)
        raise StoreUnavailable(
            f"job {job.job_id!r} changed {lifecycle.SUBMIT_ROUNDS} times while it was submitted; submit again"
        )

    def _answers(self, existing: Job, requested: Job) -> bool:
        """Check whether the job that already has the id is the requested one; ``False`` if its window has expired."""
        now = self.clock()
        if lifecycle.is_gone(existing, now):
            return False
        if requested.idempotency_key and not lifecycle.answers_duplicate(existing, now):
            return False
        check_same_call(existing, requested)
        return True


def _with_payload(job: Job, payload: Any) -> Job:
    """Return a job with the payload that its caller passed: it may be stored elsewhere."""
    return job if job.payload is payload else replace(job, payload=payload)


def _settle(matches: Callable[[Job], object] | None, settle: Callable[[Job], object] | None, job: Job) -> None:
    if matches is not None and not job.created:
        matches(job)
    if settle is not None:
        settle(job)
