"""The checks of `workers.task.JobTask` on a call and on a reused id, before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final

from celery import Task

from jobclaim.jobs import IdempotencyMismatch, InvalidInput, Job
from jobclaim.jobs.encoding.canonical import canonical
from jobclaim.jobs.encoding.marks import is_mark
from jobclaim.specs.tasks import OWN_TASKS
from jobclaim.workers.messages import call
from jobclaim.workers.submission import attributes, options
from jobclaim.workers.submission.idempotency import bind, named

ENDLESS: Final = 1_000_000
"""Attempts of a task with ``max_retries=None``."""
OF_A_CANVAS: Final = frozenset({"chain", "chord", "group_id", "parent_id", "root_id"})
"""Options of calls that a canvas makes. An interrupted attempt may have made them before, with another result."""


class CheckedTask(Task):
    """A task whose calls and attributes are checked.

    Attributes
    ----------
    fair_by : str or callable, optional
        Name of an argument, or a function from the arguments by name. SQS serves its values fairly (fair queues): one
        tenant's backlog does not delay the others' jobs. Sent as ``MessageGroupId`` with every message of the job,
        unless the call has one itself; a value of ``None`` sends none.
    """

    abstract = True
    fair_by: ClassVar[str | Callable[[dict[str, Any]], Any] | None] = None

    @cached_property
    def _faults(self) -> list[str]:
        return attributes.problems(self)

    def _check_call(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        queue: str | None,
        asked: Mapping[str, Any],
    ) -> None:
        """Refuse a call that does not fit the task, has options without effect, or whose task has invalid attributes.

        Raises
        ------
        TypeError, InvalidInput
        """
        if self._faults:
            raise InvalidInput(f"task {self.name!r}: {self._faults[0]}")
        if self.typing and (check := getattr(self, "__header__", None)):
            check(*(args or ()), **(kwargs or {}))
        if asked:
            where = queue or (self.queue_name(args or (), kwargs) if asked.get("routing_key") else "")
            options.check(self.name, where, asked)

    def _most_attempts(self) -> int:
        """Return the limit of a job's attempts; Celery's ``retry_kwargs`` may allow more than ``max_retries``."""
        retries = (getattr(self, "retry_kwargs", None) or {}).get("max_retries", self.max_retries)
        return ENDLESS if None in (retries, self.max_retries) else max(retries, self.max_retries) + 1

    def _with_group(
        self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, asked: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Add the message group of ``fair_by``. Raises `InvalidInput`."""
        if self.fair_by is None or asked.get(options.GROUP) is not None:
            return asked
        values = bind(self.run, args or (), kwargs or {})
        by: Any = self.fair_by
        value = by(values) if callable(by) else named(values).get(by)
        return asked if value is None else {**asked, options.GROUP: options.check_group(_as_group(value))}

    def _check_same_call(
        self, job: Job, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Refuse a chosen id whose job has other arguments; a canvas's repeated submission is still one job.

        Raises
        ------
        IdempotencyMismatch
        """
        names = {name for name, value in options.items() if value is not None}
        if OF_A_CANVAS & names or self.name.startswith(OWN_TASKS):
            return
        if is_mark(job.payload):  # S3 does not answer: nothing can be compared
            return
        if self._by_name(*call.from_payload(job.payload)) != self._by_name(args, kwargs):
            raise IdempotencyMismatch(
                f"task_id {job.job_id!r} of task {self.name!r} belongs to a job with different arguments; use another "
                "task_id, or another batch name in submit_many"
            )

    def _by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the arguments by name, as canonical text; unchanged if they do not fit the task's present
        parameters.
        """
        try:
            return canonical(bind(self.run, args, kwargs))
        except TypeError:
            return canonical([list(args), dict(kwargs)])


def _as_group(value: Any) -> str:
    """Return a value in the form that SQS accepts; values that it does not accept are hashed, and stay distinct."""
    text = value if isinstance(value, str) else canonical(value)
    return text if options.LEGAL_GROUP.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()
