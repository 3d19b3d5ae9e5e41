"""Calls that run at once, by ``apply()`` or in eager mode: with the same values and errors as in a worker.

::

    args ──to the text of a payload and back──▶ body ──its result, too──▶ EagerResult
         └ InvalidPayload: the body does not run        └ FAILURE with EncodeError: no worker could store it either
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import states
from celery.app.task import Context
from kombu.exceptions import EncodeError

from jobclaim.jobs import Effects, InvalidPayload, Job, JobError, JobRepo
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.repo.handing import PlannedCompletion
from jobclaim.jobs.storage.together import write_together
from jobclaim.workers.attempt.effects import collecting
from jobclaim.workers.handle import handle_of, installed_on
from jobclaim.workers.messages import call
from jobclaim.workers.submission.typed import TypedTask

NO_JOB = (
    "self.request.job: this call has no job, because it was made directly, by apply() or in eager mode "
    "(task_always_eager). Use getattr(self.request, 'job', None) if the body may run like this, or test it with "
    "jobclaim.testing, which claims a job"
)


class JobContext(Context):
    """A request of a `JobTask`; reading ``job`` where there is none raises an error that explains why.

    Attributes
    ----------
    body_began : bool
        Whether the task's own body was started.
    final_state : tuple, optional
        The state that the body reported last by ``update_state``, with its meta data.
    cancel_seen : bool
        Whether the body saw that its job is to be cancelled.
    takes_place : str
        The concurrency limit in which the job occupies a slot.
    completed : Job, optional
        The job, if its completion is written already, with effects.
    result_ttl : float, optional
        Seconds for which the result answers equal submissions.
    planned : PlannedCompletion, optional
        Its completion, if that is planned and not written yet.
    jobclaim_delivery : str
        Empty: it is the key of a plain task's delivery.
    """

    body_began = False
    final_state: tuple[str, Any] | None = None
    cancel_seen = False
    takes_place = ""
    completed: Job | None = None
    result_ttl: float | None = None
    planned: PlannedCompletion | None = None
    jobclaim_delivery = ""

    def __getattr__(self, name: str) -> Any:
        if name == "job":
            raise AttributeError(NO_JOB)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class EagerTask(TypedTask):
    """A task that behaves in a test without a worker as it does in a worker."""

    abstract = True

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run the task at once, without a job, as in Celery; arguments and result are converted as in a worker.

        Raises
        ------
        jobs.InvalidPayload
            The arguments could not be submitted.
        """
        sent = call.to_payload(*self.to_json(args, kwargs))
        given: Any = call.from_payload(codec.decode(codec.encode(sent, limit=_limit(self.app))))
        if self._plan.adapters:
            given = self.from_json(*given)
        with collecting(Effects()) as effects:
            result = super().apply(*given, **options)
        if result.state == states.SUCCESS:
            throw = options.get("throw")
            throw = self.app.conf.task_eager_propagates if throw is None else throw
            _store(result, throw=throw)
            if len(effects):
                _make(effects, result, handle_of(self.app).repo, throw=throw)
        return result

    def _get_request(self) -> Any:
        request = self.request_stack.top
        if request is None:
            request = super()._get_request()
        if type(request) is Context:  # Celery made it for this call
            request.__class__ = JobContext
        return request

    request = property(_get_request)


def _make(effects: Effects, result: Any, repo: JobRepo, *, throw: bool) -> None:
    """Write the body's effects, in one transaction without a job, or fail as the job would."""
    try:
        effects.refuse_tables(repo.own_tables)
        write_together(repo.table, (), effects.seal())
    except JobError as error:
        if throw:
            raise
        result._state, result._result = states.FAILURE, error


def _limit(app: Any) -> int | None:
    """Return the limit of a payload in bytes; ``None`` where large ones go to S3, or where a test runs without jobclaim
    installed.
    """
    handle = installed_on(app)
    return None if handle is None or handle.settings.bucket else handle.settings.max_payload_bytes


def _store(result: Any, *, throw: bool) -> None:
    """Replace the result by its value after storing and reading it, or fail as the job would."""
    try:
        result._result = codec.decode(codec.encode(result._result, what="result"))
    except InvalidPayload as error:
        failure = EncodeError(f"the task's return value cannot be stored: {error}")
        if throw:
            raise failure from error
        result._state, result._result = states.FAILURE, failure
