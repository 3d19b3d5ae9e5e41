"""`JobTask`: a task whose calls are jobs. Submitting writes the job and sends its id; running claims it first."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import structlog
from celery import Task
from celery.exceptions import Ignore
from structlog.contextvars import bind_contextvars, clear_contextvars

from jobs import Job, JobError, JobNotFound, StoreUnavailable
from jobs.model import OnOrphan
from workers import board, call, gate
from workers.dispatch import publish_if_due
from workers.identity import worker_id
from workers.message import HEADER, TOKEN, Address, address, headers

log = structlog.get_logger("jobclaim.worker")


class JobTask(Task):
    """Base class of tasks that are claimed: ``@shared_task(base=JobTask, bind=True)``.

    Attributes
    ----------
    on_orphan : {"fail", "retry"}, optional
        What recovery does with a job whose worker was lost; default `Settings.on_orphan`. With "retry" the body must bear
        being started again after it was cut off anywhere.
    max_retries : int
        Celery's own: attempts after the first.
    """

    abstract = True
    Request = "workers.request:JobRequest"
    on_orphan: ClassVar[OnOrphan | None] = None

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        queue: str | None = None,
        **options: Any,
    ) -> Any:
        """Write the job, then send its id; the result's id is the job's.

        A message that could not be sent is logged and sent by recovery: the caller has a job either way.

        Raises
        ------
        TypeError
            The arguments do not fit the task.
        jobs.JobError
            The job was refused; nothing was written or sent.
        """
        if self.app.conf.task_always_eager:
            return super().apply_async(args, kwargs, task_id=task_id, countdown=countdown, eta=eta, **options)
        available_at = self._due(countdown, eta)
        if self._is_own_retry(task_id):
            job = self.app.repo.reschedule(
                self._job.job_id, available_at=available_at, error=sys.exc_info()[1], token=self._job.claim_token
            )
            log.info("retry scheduled", available_at=job.available_at, **job.log_context())
        else:
            self._check_arguments(args, kwargs)
            job = self._create(args, kwargs, task_id, queue, available_at)
        return publish_if_due(self.app, job, **_celery_only(options))

    def before_start(self, task_id: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Claim the job, then put its arguments in the message's place. A refused claim ends here: somebody has it.

        Raises
        ------
        celery.exceptions.Ignore
            The claim was refused, or DynamoDB could not be asked: the job stays PENDING and recovery sends it again.
        """
        if self.request.called_directly or self.request.is_eager:
            return
        clear_contextvars()
        if not gate.is_open():
            log.error("not claimed, heartbeats fail and recovery sends it again", job_id=task_id, task=self.name)
            raise Ignore("heartbeats fail")
        try:
            job = self._claim(address(self.request) or self._adopt(task_id, args, kwargs))
        except (StoreUnavailable, JobNotFound) as error:
            log.error("not claimed", job_id=task_id, task=self.name, reason=str(error))
            raise Ignore(str(error)) from error
        if job is None:
            raise Ignore("already claimed")
        bind_contextvars(**job.log_context())
        self.request.job = job
        self.request.retries = job.charged - 1
        args[:], given = call.from_payload(job.payload)
        kwargs.clear()
        kwargs.update(given)
        log.info("claimed", wait_seconds=round((job.claimed_at - job.available_at) / 1000, 3))

    def after_return(self, *_: Any) -> None:
        """Forget the job in this process's log lines."""
        clear_contextvars()

    @property
    def cancelled(self) -> bool:
        """Whether somebody wants this job to end. A body that asks now and then can clean up and return within
        `Settings.cancel_grace_seconds`; it is stopped after that. What it returns or raises then is dropped: CANCELLED.
        """
        known = board.current()
        if known is None or not known.is_marked(self.request.get(TOKEN) or ""):
            return False
        self.request.cancel_seen = True
        return True

    @property
    def _job(self) -> Job:
        return self.request.job  # type: ignore[no-any-return]

    def _is_own_retry(self, task_id: str | None) -> bool:
        return task_id is not None and task_id == self.request.id and getattr(self.request, "job", None) is not None

    def _check_arguments(self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> None:
        if self.typing and (check := getattr(self, "__header__", None)):
            check(*(args or ()), **(kwargs or {}))

    def _create(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        job_id: str | None,
        queue: str | None,
        available_at: int | None,
    ) -> Job:
        job = self.app.repo.create_job(
            self.name,
            call.to_payload(args, kwargs),
            queue=queue or self.queue_name(),
            job_id=job_id,
            available_at=available_at,
            max_attempts=None if self.max_retries is None else self.max_retries + 1,
            on_orphan=self.on_orphan,
            hard_limit=self.time_limit,
        )
        log.info("submitted", **job.log_context())
        return job  # type: ignore[no-any-return]

    def queue_name(self) -> str:
        """Queue that this task's jobs go to: the task's own ``queue``, else where settings route it."""
        return getattr(self, "queue", None) or self.app.settings.queue_of(self.name)

    def _due(self, countdown: float | None, eta: datetime | None) -> int | None:
        if eta is not None:
            return round(eta.timestamp() * 1000)
        return None if countdown is None else self.app.repo.clock() + round(countdown * 1000)

    def _claim(self, where: Address) -> Job | None:
        request = self.request
        return self.app.repo.claim_job(  # type: ignore[no-any-return]
            where.job_id,
            attempt=where.attempt,
            celery_task_id=request.id,
            worker_id=worker_id(),
            token=request.get(TOKEN),
        )

    def _adopt(self, task_id: str, args: list[Any], kwargs: dict[str, Any]) -> Address:
        """Make a job of a message that names none, sent by plain Celery: its task id makes copies of it one job."""
        try:
            job = self.app.repo.create_job(self.name, call.to_payload(args, kwargs), job_id=task_id, on_orphan=self.on_orphan)
        except JobError as error:
            log.error("message refused", job_id=task_id, task=self.name, reason=str(error))
            raise Ignore(str(error)) from error
        self.request.update(headers(job) if job.created else {HEADER: {"job_id": task_id, "attempt": 0}})
        return Address(task_id, 0)


_SENT_BY_US = frozenset({"retries", "routing_key", "exchange", "headers", "task_type", "expires", "DelaySeconds"})


def _celery_only(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the call that Celery's own message still carries: what the job knows is not said twice."""
    return {name: value for name, value in options.items() if name not in _SENT_BY_US and value is not None}
