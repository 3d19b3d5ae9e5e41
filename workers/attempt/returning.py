"""Release a claimed job before it has ended: a retry, a snooze, or a limit that holds it.

::

    retry      PROCESSING ──▶ PENDING   charged        the delay is Celery's, or the retry policy's
    snooze     PROCESSING ──▶ PENDING   not charged    the task requested it
    held       PROCESSING ──▶ PENDING   not charged    before the body: a rate or a concurrency limit

The job is written first and its message sent after that, so a write that the fence refuses sends nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, NoReturn

from celery import Task
from celery.exceptions import Ignore, Reject

from jobclaim.jobs import (
    ClaimLost,
    InvalidInput,
    Job,
    JobCancelled,
    JobError,
    JobNotFound,
    RetryPolicy,
    StoreUnavailable,
)
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.protocol.releases import Held
from jobclaim.workers.attempt import admission
from jobclaim.workers.attempt.outcome import kind_of, refuse_retry
from jobclaim.workers.messages import call, envelope
from jobclaim.workers.submission import timing
from jobclaim.workers.submission.dispatch import publish_if_due
from jobclaim.workers.submission.idempotency import bind
from jobclaim.workers.submission.options import check_retry
from jobclaim.workers.telemetry import traces

log = get_logger("jobclaim.worker")


class Snoozed(Ignore):
    """Raised by `JobTask.snooze`: the attempt has ended uncharged, and the job starts again later."""


class ReturningTask(Task):
    """The part of `jobclaim.workers.task.JobTask` for retries, snoozes and limits.

    Attributes
    ----------
    max_retries : int, optional
        As in Celery: attempts after the first; ``None`` for no limit.
    default_retry_delay : float
        As in Celery: seconds before each retry without a delay of its own; it replaces an inherited policy's delays.
    retry_policy : RetryPolicy, optional
        Delays of retries without one of their own. A class that sets it is retried after any exception, unless it sets
        ``autoretry_for`` too, and as often as the policy says, unless it sets ``max_retries`` too.
    rate_limit : str, optional
        As in Celery, ``"100/m"``; here it is the rate of the whole fleet.
    rate_burst : int
        Starts that are allowed at once after a pause.
    concurrency_key : str or callable, optional
        Name of an argument, or a function from the arguments by name: at most ``concurrency_limit`` jobs with the same
        value run at once.
    concurrency_group : str, optional
        Tasks of one group share their keys; by default each task has its own.
    """

    abstract = True
    retry_policy: ClassVar[RetryPolicy | None] = None
    rate_burst: ClassVar[int] = 1
    concurrency_key: ClassVar[str | Callable[[dict[str, Any]], Any] | None] = None
    concurrency_limit: ClassVar[int] = 1
    concurrency_group: ClassVar[str | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if "retry_policy" not in own and (delay := own.get("default_retry_delay")) is not None and cls.retry_policy:
            cls.retry_policy = _constant(cls.retry_policy, delay)
        elif (policy := own.get("retry_policy")) is not None:
            if "max_retries" not in own:
                cls.max_retries = None if policy.max_attempts is None else policy.max_attempts - 1
            if "autoretry_for" not in own:
                cls.autoretry_for = (Exception,)

    @property
    def _job(self) -> Job:
        return self.request.job  # type: ignore[no-any-return]

    # --- limits
    def _admit(self, job: Job) -> None:
        if not self.rate_limit and self.concurrency_key is None:
            return
        repo = self.jobclaim.repo
        name = admission.concurrency_name(self, self._values)
        try:
            hold = admission.ask(self, job, name, self.jobclaim.limits, repo.clock())
        except StoreUnavailable as error:
            log.error("limits.unavailable", reason=str(error))
            until = repo.clock() + admission.LONGEST_WAIT_MS
            hold = admission.Hold(until, 0, "the limits could not be read", Held.STORE)
        if hold is None:
            self.request.takes_place = name  # kept, because the body may change the arguments that it is derived from
            return
        log.info("job.held", why=hold.reason, available_at=hold.until)
        self._release_claimed(
            partial(
                repo.release,
                available_at=hold.until,
                reason=hold.reason,
                held=hold.held,
                started=False,
                slot=hold.slot,
            )
        )
        raise Ignore(hold.reason)

    def _count_for_service(self, error: BaseException | None) -> None:
        """See `jobclaim.workers.guarded.GuardedTask`."""

    def _make_room(self) -> None:
        name = getattr(self.request, "takes_place", "")
        if not name:
            return
        self.request.takes_place = ""
        try:
            self.jobclaim.limits.leave(name, self._job)
        except JobError as error:
            log.warning("limits.slot_not_released", reason=str(error))

    def _values(self) -> dict[str, Any]:
        try:
            return bind(self.run, *call.from_payload(self._job.payload))
        except TypeError:
            return {}  # the body itself fails on these arguments

    # --- retries and snoozes
    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """End the attempt and try again later, as in Celery; the job is PENDING before its message is sent.

        Without countdown and ETA the delay comes from ``retry_policy``, else it is ``default_retry_delay``.

        Raises
        ------
        celery.exceptions.Retry
            Always raised unless ``throw`` is false: another attempt follows.
        celery.exceptions.Ignore
            The claim has ended: another attempt has the job, and nothing was written or sent.
        Exception
            ``exc``, or `MaxRetriesExceededError`: no attempts are left, and the job ends FAILED.
        """
        request = self.request
        celery_retry = partial(super().retry, args, kwargs, exc, throw, max_retries=max_retries, **options)
        if request.called_directly or getattr(request, "job", None) is None:
            return celery_retry(eta=eta, countdown=countdown)
        check_retry(self.name, options)
        if isinstance(cancelled := exc or sys.exc_info()[1], JobCancelled):
            raise cancelled  # not retried, for example by `autoretry_for`: the next attempt would only be cancelled
        self._count_for_service(exc or sys.exc_info()[1])
        if eta is None and countdown is None and self.retry_policy is not None:
            countdown = self._policy_delay(exc or sys.exc_info()[1])
        request.is_retrying, request.retry_cause = True, exc or sys.exc_info()[1]
        try:
            return celery_retry(eta=eta, countdown=countdown)
        except Reject as rejected:
            refuse_retry(rejected.reason)
        finally:
            request.is_retrying = False

    def snooze(self, seconds: float, reason: str = "snoozed by its task") -> NoReturn:
        """Release the job and start it again after some seconds, without charging an attempt.

        Use it for a condition that is not a failure: a file that has not arrived, a report that is still being
        computed.

        Raises
        ------
        Snoozed
            Always: nothing after this call runs.
        InvalidInput
            ``seconds`` is not a number, or this is called outside a running job.
        """
        if getattr(self.request, "job", None) is None:
            raise InvalidInput(
                "snooze() was called outside a running job, so there is nothing to release; call it in the body of a "
                "task that runs as a job"
            )
        due = timing.due_at(seconds, None, self.jobclaim.repo.clock(), self.app.timezone)
        self._make_room()
        self._release_claimed(partial(self.jobclaim.repo.release, available_at=due, reason=reason, held=Held.SNOOZE))
        raise Snoozed(reason)

    def _policy_delay(self, error: BaseException | None) -> float:
        """Return the policy's delay before the next attempt, or raise ``error`` if the policy does not retry it.
        ``max_retries`` limits the attempts.
        """
        assert self.retry_policy is not None
        decision = replace(self.retry_policy, max_attempts=None).decide(error, self._job.charged)
        if not decision.retry and error is not None:
            log.info("job.not_retried", why=decision.reason)
            raise error
        return decision.delay

    def _reschedule(
        self, args: Any, kwargs: Any, due: int | None, queue: str | None, options: Mapping[str, Any]
    ) -> Any:
        """Write the retry, then send its message; a refused write sends nothing."""
        job, changed = self._job, dict[str, Any]()
        payload = call.to_payload(args, kwargs)
        if codec.encode(payload) != codec.encode(call.to_payload(*call.from_payload(job.payload))):
            changed["payload"] = payload
        if queue and queue != job.queue:
            changed["queue"] = queue
        cause = self.request.retry_cause
        after = self.jobclaim.repo.reschedule(
            job.job_id, available_at=due, error=cause, kind=kind_of(cause), token=job.claim_token, **changed
        )
        self._make_room()
        traces.ended(
            self.jobclaim.settings,
            job,
            "retry",
            at=self.jobclaim.repo.clock(),
            exception=type(cause).__name__ if cause else "",
        )
        log.info("job.retry_scheduled", available_at=after.available_at)
        return publish_if_due(self.app, after, **envelope.of_one_send(options))

    def _release_claimed(self, release: Callable[..., Job]) -> None:
        job = self._job
        try:
            after = release(job.job_id, token=job.claim_token)
        except (ClaimLost, JobNotFound, StoreUnavailable) as error:
            log.warning("job.release_refused", reason=str(error))
            return
        traces.ended(self.jobclaim.settings, job, "release", at=self.jobclaim.repo.clock())
        publish_if_due(self.app, after)


def _constant(policy: RetryPolicy, delay: float) -> RetryPolicy:
    """Return a copy of the policy with a constant delay."""
    return replace(policy, base=delay, factor=1, ceiling=delay, full_jitter=False)
