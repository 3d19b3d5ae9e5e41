"""Base classes of tasks by kind of work, with the figures that governance requires.

=================  =======  ====================================  ==========  ===============================
class              retries  delays, seconds                       hard limit  answers equal calls for
=================  =======  ====================================  ==========  ===============================
IdempotentTask     3        60, 120, 240                          its queue's 1 h
EmailTask          5        up to 10, 20, 40, 80, 120             2 min       2 h (``email``)
ReportTask         2        600, 1200                             30 min      24 h (``reports``)
MaintenanceTask    none                                           its queue's 12 h (``maintenance``)
ExternalAPITask    3        up to 60, 120, 240                    10 min      1 h
=================  =======  ====================================  ==========  ===============================

"Up to" is full jitter: jobs that failed together because a service was down must not be retried together. Every figure
is a class attribute and can be set per task: ``@shared_task(base=EmailTask, max_retries=2, default_retry_delay=30)``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from jobclaim.jobs import InvalidInput, JobStatus, RetryPolicy, RetryRule
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.idempotency import GLOBAL, IdempotencyService, store_result, window_seconds
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.protocol.submission import id_for_key
from jobclaim.workers.submission.idempotency import KeyFrom, Rules, Scope
from jobclaim.workers.task import JobTask

NEVER_AGAIN = RetryRule((InvalidInput, NotImplementedError))
"""Errors that recur however often the same call is tried."""


class Idempotent(JobTask):
    """A task whose equal calls are one job: while it is open, and for ``idempotency_ttl`` after it completed.

    A call whose job FAILED or was CANCELLED runs again. There is no lock, so none can be left behind: the job itself
    is the record, and its claim keeps a second run from starting.

    Attributes
    ----------
    idempotency_ttl : float or str, optional
        Seconds, or a category of `jobclaim.jobs.idempotency.WINDOWS`; default `Settings.idempotency_ttl_seconds`.
    idempotency_scope : str or callable
        ``"global"``; ``"user"`` or ``"tenant"``: equal calls of different users are different; or a function from the
        arguments by name to the owner.
    idempotency_scope_argument : str, optional
        Argument that holds the owner; default ``user_id`` or ``tenant_id``.
    idempotency_key_from : sequence of str or callable, optional
        Arguments that identify a call, if not all do; or a function from the arguments by name to a JSON value.
    """

    abstract = True
    idempotency_scope: ClassVar[Scope] = GLOBAL
    idempotency_scope_argument: ClassVar[str | None] = None
    idempotency_key_from: ClassVar[KeyFrom | None] = None

    def idempotency_rules(self) -> Rules | None:
        """The rules that identify equal calls."""
        scope: Any = self.idempotency_scope
        return Rules(
            scope=scope,
            argument=self.idempotency_scope_argument,
            key_from=self.idempotency_key_from,
        )

    def generate_task_id(self, *args: Any, **kwargs: Any) -> str:
        """Return the id that the job of this call has, submitted or not: ``AsyncResult(id)`` finds it.

        Raises
        ------
        TypeError, jobs.InvalidInput
            The arguments do not fit the task, or do not identify a call.
        """
        identity = self._identity(args, kwargs, None, None)
        assert identity is not None
        return id_for_key(self.name, identity.key)

    def get_cached_result(self, task_id: str) -> Any:
        """Return the result that an equal call would get now, ``None`` if it would run.

        A result that is ``None`` itself looks the same; `jobs.IdempotencyService` distinguishes them.

        Raises
        ------
        jobs.OffloadLost, jobs.StoreUnavailable
            The result is in S3 and could not be read.
        """
        job = self.jobclaim.repo.table.get(task_id)
        now = self.jobclaim.repo.clock()
        if job is None or job.status is not JobStatus.COMPLETED or lifecycle.is_gone(job, now):
            return None
        return self.jobclaim.repo.large.value(job.result) if lifecycle.answers_duplicate(job, now) else None

    def cache_result(self, task_id: str, result: Any, ttl: float | str | None = None) -> None:
        """Decide for how long a result answers equal calls.

        The result of a run is stored by the write that completes its job, so calling this in the task's own body sets
        the window of that write and nothing else. For any other id the result is stored as that of a call that was made
        elsewhere; if a job with the id exists already, it stays.

        Raises
        ------
        jobs.InvalidInput, jobs.InvalidPayload
        """
        seconds = window_seconds(ttl)
        running = getattr(self.request, "job", None)
        if running is not None and running.job_id == task_id:
            codec.encode(result, what="result", limit=self.jobclaim.settings.max_result_bytes)
            self.request.result_ttl = seconds
            return
        own = seconds if seconds is not None else window_seconds(self.idempotency_ttl)
        store_result(self.jobclaim.repo, self.name, task_id, result, ttl_seconds=own, job_id=task_id)

    def idempotency(self) -> IdempotencyService:
        """Return the service that looks up and clears this task's keys."""
        return IdempotencyService(self.jobclaim.repo, namespace=self.name)


class IdempotentTask(Idempotent):
    """Idempotent task for the usual case: equal calls are one job, and a failed one is retried after 1, 2 and 4
    minutes.
    """

    abstract = True
    retry_policy: ClassVar[RetryPolicy | None] = RetryPolicy(
        max_attempts=4, base=60, factor=2, ceiling=240, full_jitter=False, rules=(NEVER_AGAIN,)
    )


class EmailTask(IdempotentTask):
    """Task for mail and other short messages to people: many quick retries, and never twice within two hours."""

    abstract = True
    retry_policy = RetryPolicy(max_attempts=6, base=10, factor=2, ceiling=120, rules=(NEVER_AGAIN,))
    idempotency_ttl = "email"
    soft_time_limit = 100
    time_limit = 120


class ReportTask(IdempotentTask):
    """Task for long computations whose result is worth keeping for a day: few retries, far apart."""

    abstract = True
    retry_policy = RetryPolicy(
        max_attempts=3, base=600, factor=2, ceiling=3600, full_jitter=False, rules=(NEVER_AGAIN,)
    )
    idempotency_ttl = "reports"
    soft_time_limit = 1680
    time_limit = 1800


class MaintenanceTask(IdempotentTask):
    """Task for housekeeping that runs again by schedule anyway: no retries."""

    abstract = True
    retry_policy = None
    autoretry_for = ()
    max_retries = 0
    idempotency_ttl = "maintenance"


class ExternalAPITask(IdempotentTask):
    """Task for calls of external services: exponential backoff with full jitter, to avoid a stampede afterwards."""

    abstract = True
    retry_policy = RetryPolicy(max_attempts=4, base=60, factor=2, ceiling=240, rules=(NEVER_AGAIN,))
    soft_time_limit = 540
    time_limit = 600
