"""What an attempt sets in its process ends with it, however it ends: success, failure, retry, snooze, Ignore, a limit.

Each attempt runs in a copy of the process's context (`contextvars`). The job's fields on log lines, the time until
which AWS is asked again, the parent of spans, and whatever the body bound itself are gone when Celery's tracer returns
or raises, and none of its exits needs to think of it. What the host bound when the process started is seen as by any
task.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from typing import Any, TypeVar, cast

from celery import Task

from jobclaim.jobs import log
from jobclaim.workers.handle import handle_of, installed_on

F = TypeVar("F", bound=Callable[..., Any])

Tracer = Callable[..., Any]
"""What `celery.app.trace.build_tracer` makes: it runs one message of a task, from its first hook to its last."""


def speaking(method: F) -> F:
    """Make a task's method whose log lines are its app's, where it is called outside an attempt too."""

    @wraps(method)
    def call(self: Task, *args: Any, **kwargs: Any) -> Any:
        if (handle := installed_on(self.app)) is None:
            return method(self, *args, **kwargs)
        with log.speaks(handle):
            return method(self, *args, **kwargs)

    return cast(F, call)


def contained(tracer: Tracer, task: Any) -> Tracer:
    """Make a tracer whose context ends with it, and whose log lines are the task's app's."""

    def trace(*args: Any, **kwargs: Any) -> Any:
        with log.speaks(handle_of(task.app)):
            return tracer(*args, **kwargs)

    return lambda *args, **kwargs: copy_context().run(trace, *args, **kwargs)
