"""Submit calls of a `JobTask`: write the job, then send a message with its id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from celery import Task

from jobclaim.fleet.workers import is_cancel_under_way
from jobclaim.jobs import CancelUnderWay, Job, JobError, checks
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.marks import is_mark
from jobclaim.jobs.failures.dead import seal_policy
from jobclaim.jobs.idempotency import window_seconds
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.repo.joining import joining
from jobclaim.settings import Settings
from jobclaim.workers import time_limits
from jobclaim.workers.messages import call, envelope, links
from jobclaim.workers.scope import for_own_app
from jobclaim.workers.submission import timing
from jobclaim.workers.submission.dispatch import publish_if_due, publish_if_unsent
from jobclaim.workers.submission.idempotency import Identity, Rules, bind, identify
from jobclaim.workers.telemetry import traces

if TYPE_CHECKING:
    from jobclaim.workers.submission.bulk import BulkReport

log = get_logger("jobclaim.worker")

MESSAGES_FAULT: Final = (JobError, TypeError, ValueError, LookupError, AttributeError)
"""Errors of `write_job` for a call that can never become a job; any other error may be temporary."""


class SubmittedTask(Task):
    """The part of `jobclaim.workers.task.JobTask` for submitting."""

    abstract = True

    @for_own_app
    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | str | None = None,
        expires: float | datetime | str | None = None,
        queue: Any = None,
        idempotency_key: str | None = None,
        idempotency_ttl: float | str | None = None,
        tags: Iterable[str] | None = None,
        **options: Any,
    ) -> Any:
        """Write the job, then send its id; the result's id is the job's.

        A message that could not be sent is logged and sent by recovery: the caller has a job either way. A call that
        equals another one by its idempotency key gets that one's job, with its result where there is one. No message is
        sent, unless that job was never claimed and its message may not have been sent.

        Parameters
        ----------
        countdown, eta : optional
            When the job may start, up to 400 days ahead.
        expires : optional
            A job whose body has not started by then ends CANCELLED.
        idempotency_key : str, optional
            Makes calls with this key one job, whatever their arguments.
        idempotency_ttl : float or str, optional
            Seconds, or a category of `jobclaim.jobs.idempotency.WINDOWS`, for which the completed job answers.
        tags : iterable of str, optional
            Words by which people find the job, in addition to those of the task; see `jobs.JobRepo.create_job`.

        Raises
        ------
        TypeError
            The arguments do not fit the task.
        jobs.JobError
            The job was refused; nothing was written or sent. `jobs.IdempotencyMismatch` if ``task_id`` belongs to a job
            with other arguments, `jobs.CancelUnderWay` if an equal job is being cancelled.
        """
        queue = getattr(queue, "name", queue)
        if self.app.conf.task_always_eager:
            self._check_call(args, kwargs, queue, options)
            timing.window(countdown, eta, expires, system_clock(), self.app.timezone)
            self._tags(tags)
            args, kwargs = self.to_json(args, kwargs)
            codec.encode(call.to_payload(args, kwargs))  # raises for arguments that a job cannot carry, and names them
            return super().apply_async(args, kwargs, task_id=task_id, countdown=countdown, eta=eta, **options)
        if getattr(self.request, "is_retrying", False):
            args, kwargs = self.to_json(args, kwargs)
            due = timing.due_at(countdown, eta, self.jobclaim.repo.clock(), self.app.timezone)
            return self._reschedule(args, kwargs, due, queue, options)
        try:
            with joining(None):  # a router or validator of another call may have made this one
                job = self.write_job(
                    args,
                    kwargs,
                    task_id,
                    countdown=countdown,
                    eta=eta,
                    expires=expires,
                    queue=queue,
                    idempotency_key=idempotency_key,
                    idempotency_ttl=idempotency_ttl,
                    tags=tags,
                    **options,
                )
        except MESSAGES_FAULT as error:
            return self.refused(task_id, options, error)
        if not job.created:
            return self._duplicate(job, options)
        return self._as_own(publish_if_due(self.app, job, **envelope.of_one_send(options)))

    def _as_own(self, handle: Any) -> Any:
        """Return the handle in the task's own result class, for example that of `celery.contrib.abortable`."""
        own = self.AsyncResult(handle.id)
        if type(own) is type(handle):
            return handle
        own.unsent = getattr(handle, "unsent", False)
        return own

    @for_own_app
    def write_job(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | str | None = None,
        expires: float | datetime | str | None = None,
        queue: Any = None,
        idempotency_key: str | None = None,
        idempotency_ttl: float | str | None = None,
        tags: Iterable[str] | None = None,
        **options: Any,
    ) -> Job:
        """Write the job of a call without sending its message; everything else is as with `apply_async`."""
        queue = getattr(queue, "name", queue)
        self._check_call(args, kwargs, queue, options)
        args, kwargs = self.to_json(args, kwargs)
        identity = self._identity(args, kwargs, idempotency_key, task_id)
        ttl = idempotency_ttl if idempotency_ttl is not None else self.idempotency_ttl
        until = self.expires if expires is None else expires
        due, start_by = timing.window(countdown, eta, until, self.jobclaim.repo.clock(), self.app.timezone)
        return self._create(
            args,
            kwargs,
            options,
            partial(self._check_existing, args, kwargs, options, task_id, identity),
            job_id=None if identity else task_id,
            queue=queue,
            available_at=due,
            start_by=start_by,
            idempotency_key=identity.key if identity else None,
            fingerprint=identity.fingerprint if identity else None,
            ttl=window_seconds(ttl) if identity else None,
            tags=self._tags(tags),
        )

    @for_own_app
    def submit_many(self, calls: Iterable[Any], **options: Any) -> BulkReport:
        """Submit any number of calls, 1.1 requests each, in bounded memory: `workers.submission.bulk.submit_many`."""
        from jobclaim.workers.submission.bulk import submit_many

        return submit_many(self, calls, **options)

    def queue_name(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> str:
        """The queue of this task's jobs: its own ``queue``, else the settings' route."""
        return time_limits.queue_of(self, self.jobclaim, args, kwargs)

    def idempotency_rules(self) -> Rules | None:
        """The rules that identify equal calls; ``None`` if only the caller's own key makes calls equal."""
        return None

    def _tags(self, own: Iterable[str] | None) -> tuple[str, ...]:
        """Return the tags of a call: the task's and its own. Raises `jobs.InvalidInput`."""
        return checks.tags((*self.tags, *checks.tags(own))) if self.tags or own is not None else ()

    def _identity(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], key: str | None, task_id: str | None
    ) -> Identity | None:
        """Identify the call; one with a chosen id, as in a canvas, is identified by that id alone."""
        rules = self.idempotency_rules()
        if key is None and (rules is None or task_id is not None):
            return None
        return identify(self.name, bind(self.run, args, kwargs), rules or Rules(), key)

    def _check_existing(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        task_id: str | None,
        identity: Identity | None,
        job: Job,
    ) -> None:
        """Refuse an existing job that is another call's, or is being cancelled."""
        if identity is None and task_id is not None:
            self._check_same_call(job, args, kwargs, options)
        elif identity and is_cancel_under_way(self.jobclaim.repo, job):
            raise CancelUnderWay(
                f"job {job.job_id!r} of an equal call of task {self.name!r} is being cancelled; submit again when it "
                "has ended"
            )

    def _create(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
        check: Callable[[Job], object] | None = None,
        *,
        queue: str | None,
        **asked: Any,
    ) -> Job:
        queue = queue or self.queue_name(args or (), kwargs)
        own_limit = options.get("time_limit")
        options = self._with_group(args, kwargs, options)
        handle, payload = self.jobclaim, call.to_payload(args, kwargs)
        repo, settings = handle.repo, handle.settings
        time_limits.check_call(self.name, queue, own_limit, settings)
        time_limits.check_soft(self.name, options.get("soft_time_limit"), own_limit or self.time_limit)
        with traces.submitting(settings, self.name, options) as carried:
            bound = links.prepare(self.app, carried)
            return repo.create_job(  # type: ignore[no-any-return]
                self.name,
                payload,
                queue=queue,
                max_attempts=self._most_attempts(),
                on_orphan=self.on_orphan,
                hard_limit=own_limit or self.time_limit,
                envelope=envelope.fit(bound, payload, repo.large, repo.settings.max_payload_bytes),
                failure_policy=seal_policy(self.dead_letters, critical=self.critical),
                must_match=False,  # `_check_same_call` also compares by name, and allows a canvas's repeats
                settle=partial(self._settle, kwargs, check),
                **asked,
            )

    def _settle(self, kwargs: Mapping[str, Any] | None, check: Callable[[Job], object] | None, job: Job) -> None:
        if job.created:
            log.info("job.submitted", **job.log_context(), **self._shown(kwargs, self.jobclaim.settings))
        elif check is not None:
            check(job)

    def _duplicate(self, job: Job, options: Mapping[str, Any]) -> Any:
        """Return the handle of a call whose job exists already; it has the result if there is one."""
        log.info("job.duplicate", job_status=str(job.status), **job.log_context())
        result = self.AsyncResult(job.job_id)
        result.unsent = not publish_if_unsent(self.app, job, **envelope.of_one_send(options))
        if not is_mark(job.result):  # else S3 did not answer, and reading the handle reads S3 again
            result._maybe_set_cache(self.app.backend.meta_of(job))
        return result

    @staticmethod
    def _shown(kwargs: Mapping[str, Any] | None, settings: Settings) -> dict[str, Any]:
        """Return the arguments that may be logged."""
        shown = {name: (kwargs or {})[name] for name in settings.log_arguments if name in (kwargs or {})}
        return {"arguments": shown} if shown else {}
