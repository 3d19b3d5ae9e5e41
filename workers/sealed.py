"""The class of a `JobTask`'s objects: the user's class, preceded by the hooks that it must not remove.

::

    Sealed ──▶ the user's classes, Flask's, mixins ──▶ JobTask ──▶ celery.Task

A user's base class may have a ``before_start``, a ``__call__`` or an ``after_return`` that does not call ``super()``:
Celery would then never reach jobclaim's, and the body would run without its claim. Here jobclaim's come first and call
the user's; the end of the attempt wraps Celery's tracer (`workers.attempt.closing`), where no hook can remove it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from celery import Task
from celery.utils.imports import symbol_by_name

from jobclaim.workers.attempt.closing import answering, closing
from jobclaim.workers.attempt.custom_headers import with_custom_headers
from jobclaim.workers.libraries import is_of_library
from jobclaim.workers.scope import Tracer, contained

REMEDIES: Final = {
    "backend": "a job's state and result are stored in the job table, and with another result backend jobs would "
    "never end; remove it",
    "Strategy": "it makes the requests that record what a lost process left behind; remove it",
    "request": "it holds the claimed job; remove it",
    "jobclaim": "it is jobclaim's own attribute on the task; rename it",
}
"""Names, besides private ones, that must not be overridden: the reason, and what to do instead."""
FROM_CELERYS: Final = "derive it from celery.worker.request.Request: jobclaim's is put in front of it"
KEPT: Final = "__jobclaim_sealed__"
"""Attribute of a class that holds its sealed class, so that both are collected together."""


class Sealed(Task):
    """The hooks that Celery calls first."""

    _tracer: Tracer | None = None

    @property
    def __trace__(self) -> Tracer | None:
        """Celery's tracer of this task, set by workers; each attempt has its own context and ends with it."""
        return self._tracer

    @__trace__.setter
    def __trace__(self, tracer: Tracer | None) -> None:
        self._tracer = None if tracer is None else traced(tracer, self)

    @property
    def Request(self) -> Any:  # noqa: N802 - Celery's name
        """The class of its requests in a worker's main process: jobclaim's, before the user's own if there is one."""
        from jobclaim.workers.process.request import of_job_task

        return of_job_task(super().Request)

    def before_start(self, task_id: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Claim the job, then do what the user's class does before a body."""
        self._start(task_id, args, kwargs)
        super().before_start(task_id, args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body within its breaker, as the user's class runs it; after a lost claim nothing follows."""
        request, body = self.request_stack.top, partial(super().__call__, *args, **kwargs)
        if getattr(request, "job", None) is None or getattr(request, "body_began", False):
            return body()
        request.body_began = True
        return self._conclude(request, body)


def traced(tracer: Tracer, task: Any) -> Tracer:
    """Make the tracer of a `JobTask` from Celery's tracer."""
    return contained(answering(closing(with_custom_headers(tracer), task)), task)


def sealed(cls: Any) -> Any:
    """Return the sealed class of a user's class, from which its tasks are made; a sealed class is returned as it is."""
    if issubclass(cls, Sealed):
        return cls
    if KEPT not in vars(cls):
        named = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
        setattr(cls, KEPT, type(cls)(cls.__name__, (Sealed, cls), named))
    return vars(cls)[KEPT]


def hides(task: Any) -> Iterator[str]:
    """Return which of jobclaim's methods the user's classes override beyond what `Sealed` restores; such a task must
    not run.

    The class is read from `__class__`: by `type`, a task that is not evaluated yet is one of Celery's proxies.
    """
    for cls in task.__class__.__mro__:
        if is_of_library(cls) or issubclass(cls, Sealed):
            continue
        for name in sorted(vars(cls).keys() & own_names(task.__class__)):
            why = REMEDIES.get(name, "it is jobclaim's own, and its tasks would run without jobclaim's part; rename it")
            yield f"class {cls.__module__}.{cls.__qualname__} overrides {name}: {why}"
        if "Request" in vars(cls) and issubclass(symbol_by_name(vars(cls)["Request"]), _our_request()):
            yield f"class {cls.__module__}.{cls.__qualname__}: its Request derives from jobclaim's; {FROM_CELERYS}"
    if "before_start" in vars(task):
        yield "before_start is set on the task itself, where it replaces the claim; define it in a base class"


def _our_request() -> Any:
    from jobclaim.workers.process.request import JobRequest  # imported in workers only: submitters do not need it

    return JobRequest


def own_names(cls: type) -> set[str]:
    """List the names of a task class that users do not call: private methods, and those that a worker relies on."""
    ours = (vars(one) for one in cls.__mro__ if one.__module__.startswith("jobclaim."))
    private = {name for names in ours for name in names if name.startswith("_") and not name.endswith("_")}
    return private - set(dir(Task)) | REMEDIES.keys()


def declared(cls: type[Task]) -> type[Task]:
    """Return the class as its author wrote it."""
    return next(one for one in cls.__mro__ if not issubclass(one, Sealed))
