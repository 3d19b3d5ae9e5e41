"""`JobTask`: a task whose calls are jobs. Submitting writes the job and sends its id; running claims it first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from celery.exceptions import Ignore
from structlog.contextvars import bind_contextvars

from jobclaim.jobs import Job, JobError, JobNotFound, JobRepo, JobUnreadable, StoreUnavailable
from jobclaim.jobs.failures.taxonomy import register_kind
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import OnOrphan
from jobclaim.jobs.redaction import MASK
from jobclaim.jobs.repo import delivery
from jobclaim.jobs.repo.claiming import early
from jobclaim.settings import SQS_MAX_DELAY
from jobclaim.workers import time_limits
from jobclaim.workers.attempt import coroutines, sla
from jobclaim.workers.attempt.checking import check_cancelled
from jobclaim.workers.attempt.closing import opened
from jobclaim.workers.attempt.eager import EagerTask
from jobclaim.workers.attempt.lasting import LastingTask
from jobclaim.workers.attempt.returning import ReturningTask
from jobclaim.workers.guarded import GuardedTask
from jobclaim.workers.handle import Handle, handle_of, installed_on
from jobclaim.workers.messages import call, links
from jobclaim.workers.messages.adoption import Misaddressed, NotAdopted, Unadoptable, Unanswered
from jobclaim.workers.messages.message import HEADER, MISADDRESSED, TOKEN, Address, address, headers, is_misaddressed
from jobclaim.workers.process import plain_messages
from jobclaim.workers.results import notifying
from jobclaim.workers.results.linked import LinkedTask
from jobclaim.workers.sealed import sealed
from jobclaim.workers.state import worker
from jobclaim.workers.submission.asynchronous import AwaitableTask
from jobclaim.workers.submission.checked import CheckedTask
from jobclaim.workers.submission.dispatch import publish_if_due
from jobclaim.workers.submission.on_commit import OnCommitTask
from jobclaim.workers.submission.submitted import MESSAGES_FAULT, SubmittedTask
from jobclaim.workers.submission.typed import TypedTask
from jobclaim.workers.telemetry import traces

if TYPE_CHECKING:
    pass

log = get_logger("jobclaim.worker")

CALLABLES: Final = ("concurrency_key", "fair_by", "idempotency_scope", "idempotency_key_from")
"""Attributes that may be functions of the arguments; as methods they would also be passed the task."""


class JobTask(
    SubmittedTask,
    AwaitableTask,
    OnCommitTask,
    CheckedTask,
    LinkedTask,
    EagerTask,
    TypedTask,
    GuardedTask,
    LastingTask,
    ReturningTask,
):
    """Base class of tasks whose calls are jobs: ``@shared_task(base=JobTask, bind=True)``. See `ReturningTask` for
    retries and limits.

    Attributes
    ----------
    on_orphan : {"fail", "retry"}, optional
        What recovery does with an orphan; default `Settings.on_orphan`. With "retry" the body must be safe to run again
        after it was interrupted anywhere.
    dead_letters : mapping, optional
        By failure kind, how often and when recovery retries a failed job, where that differs from settings:
        ``{"EXTERNAL": {"retries": 2, "after_seconds": 600, "factor": 2}}``.
    critical : bool
        Whether any failure raises an alert.
    tags : sequence of str
        Tags of every job of the task; those of a call are added. See `jobs.JobRepo.create_job`.
    failure_kinds : mapping, optional
        Kinds of this task's exceptions: from class, or dotted name, to `jobs.FailureKind` or a function.
    """

    abstract = True
    Request = "jobclaim.workers.process.request:JobRequest"
    Strategy = "jobclaim.workers.process.request:receive"
    on_orphan: ClassVar[OnOrphan | None] = None
    dead_letters: ClassVar[Mapping[str, Any] | None] = None
    critical: ClassVar[bool] = False
    tags: ClassVar[Sequence[str]] = ()
    failure_kinds: ClassVar[Mapping[type[BaseException] | str, Any] | None] = None
    idempotency_ttl: ClassVar[float | str | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        coroutines.prepare(cls)
        own = vars(cls)
        for name in CALLABLES:
            if callable(own.get(name)) and not isinstance(own[name], staticmethod):
                setattr(cls, name, staticmethod(own[name]))  # called with arguments only, without the task

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Make a task whose class cannot remove the claim, whatever it overrides: `attempt.sealed`."""
        return super().__new__(sealed(cls))

    @classmethod
    def bind(cls, app: Any) -> Any:
        """Bind the task to an app, with the time limits of the app's settings."""
        if handle := installed_on(app):
            time_limits.adopt(cls, handle)
        for error, kind in (cls.failure_kinds or {}).items():
            register_kind(error, kind, task=cls.name)
        return super().bind(app)

    @property
    def jobclaim(self) -> Handle:
        """The jobclaim handle of the task's app. Raises `NotInstalled`."""
        return handle_of(self.app)

    def _start(self, task_id: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Claim the job, then replace the message's arguments by the job's. A refused claim ends here: another attempt
        has the job.

        Raises
        ------
        celery.exceptions.Ignore
            The claim was refused, a limit holds the job, or DynamoDB did not answer: the job stays PENDING or is
            PENDING again, and its message is sent again.
        workers.messages.adoption.NotAdopted
            The message of plain Celery has no job yet: it is kept.
        """
        request, handle = self.request, self.jobclaim
        if request.called_directly or request.is_eager:
            return
        where = address(request)
        if where is None and is_misaddressed(request):
            raise Unadoptable(MISADDRESSED)
        if not worker.current().may_claim():
            self._refuse(task_id, is_job=where is not None)
        repo = handle.repo
        try:
            job = self._claim(request, where or self._adopt(task_id, args, kwargs), repo)
        except JobNotFound as error:
            log.warning("claim.no_such_job", job_id=error.job_id, task=self.name)
            raise Ignore(str(error)) from error
        except (StoreUnavailable, JobUnreadable) as error:
            log.error("claim.unavailable", job_id=task_id, task=self.name, reason=str(error))
            raise (Unanswered if isinstance(error, StoreUnavailable) else Ignore)(str(error)) from error
        if job is None:
            raise Ignore("already claimed")
        bind_contextvars(**job.log_context())
        traces.enter(handle.settings, job)
        request.job = job
        opened(request)
        self._begin_effects(repo.own_tables)
        request.update(links.of_claim(job))
        request.argsrepr = request.kwargsrepr = MASK  # shown by Celery's own log lines
        self.restore_links(job)
        request.retries = job.charged - 1
        args[:], kwargs_ = call.from_payload(job.payload)
        kwargs.clear()
        kwargs.update(kwargs_)
        self._guard()
        self._admit(job)
        self._enter_body(job, repo)
        args[:], typed = self.from_json(args, kwargs)
        kwargs.update(typed)
        wait = round(job.wait_ms / 1000, 3)
        missed, shown = sla.is_missed(job, wait, handle.settings), self._shown(kwargs_, handle.settings)
        log.info("claim.acquired", wait_seconds=wait, sla_missed=missed, **shown)

    @property
    def cancelled(self) -> bool:
        """Return whether this job is to be cancelled. A body that checks regularly can clean up and return within
        `Settings.cancel_grace_seconds`; after that it is stopped. Its result or exception is dropped: the job ends
        CANCELLED.
        """
        if not worker.current().is_cancelled(self.request.get(TOKEN) or ""):
            return False
        self.request.cancel_seen = True
        return True

    def check_cancelled(self) -> None:
        """Raise if this attempt is to end: `jobclaim.check_cancelled`, which any code that the body calls may use."""
        check_cancelled()

    def ready_early(self, job_id: str) -> bool:
        """Check whether a message may start this job before it is due, because what it waits for has come.

        A message alone is no reason: anyone who may send to the queue can write one.
        """
        return False

    def _refuse(self, task_id: str, *, is_job: bool) -> NoReturn:
        """Refuse to claim while heartbeats fail: recovery may soon consider this worker lost."""
        if not is_job:
            log.error("message.released", job_id=task_id, task=self.name)
            raise NotAdopted("heartbeats fail", requeue=True)
        log.error("claim.paused", job_id=task_id, task=self.name)
        raise Unanswered("heartbeats fail")  # its message is deleted; the main process sends another

    def _claim(self, request: Any, where: Address, repo: JobRepo) -> Job | None:
        began = time.monotonic()
        # the main process knows this claim from the request, so it is not noted as one of the body
        with delivery.outside():
            job = repo.claim_job(
                where.job_id,
                attempt=where.attempt,
                celery_task_id=request.id,
                worker_id=worker.current().worker_id,
                token=request.get(TOKEN),
                refused=partial(self._refused, where),
                task=self.name,
                when_due=not self.ready_early(where.job_id),
            )
        request.claim_seconds = time.monotonic() - began
        return job

    def _refused(self, where: Address, job: Job) -> None:
        """Raise if the claim was refused because of the message, not because of the job's state.

        Raises
        ------
        workers.messages.adoption.Misaddressed
            The job belongs to another task.
        celery.exceptions.Ignore
            The job is not due; its message is sent again in time.
        """
        if job.task != self.name:
            raise Misaddressed(f"it names task {self.name!r}, but its job {job.job_id!r} belongs to task {job.task!r}")
        if job.attempt == where.attempt and early(job, self.jobclaim.repo.clock()):
            self._send_in_time(job)
        notifying.notify_expired(self.app, job)

    def _send_in_time(self, job: Job) -> NoReturn:
        """Replace a message that came too early by one that SQS delays until its job is due; recovery sends it if that
        is too far ahead.
        """
        wait = (job.available_at - self.jobclaim.repo.clock()) / 1000
        if job.dispatches and wait <= SQS_MAX_DELAY:
            publish_if_due(self.app, job)
        raise Ignore("its job is not due yet")

    def _adopt(self, task_id: str, args: list[Any], kwargs: dict[str, Any]) -> Address:
        """Create the job of a message from plain Celery. Its id is the task id, so copies of the message are one job.

        The main process keeps the message until this process has answered: `jobclaim.workers.messages.adoption`.
        """
        delivered = (self.request.delivery_info or {}).get("routing_key")
        queue = delivered if delivered in self.jobclaim.settings.queue_names else None
        if why := plain_messages.refusal(self, self.jobclaim, queue or ""):
            log.error("message.refused", job_id=task_id, task=self.name, reason=why)
            raise Unadoptable(why)
        try:
            job = self._create(args, kwargs, self.request.as_execution_options(), job_id=task_id, queue=queue)
        except Exception as error:
            # the text of a foreign error may contain arguments
            reason = str(error) if isinstance(error, JobError) else type(error).__name__
            if isinstance(error, MESSAGES_FAULT) and not isinstance(error, StoreUnavailable):
                log.error("message.refused", job_id=task_id, task=self.name, reason=reason)
                raise Unadoptable(f"it cannot become a job: {reason}") from error
            log.error("message.kept", job_id=task_id, task=self.name, reason=reason)
            raise NotAdopted(reason) from error
        self.request.update(headers(job) if job.created else {HEADER: {"job_id": task_id, "attempt": 0}})
        return Address(task_id, 0)
