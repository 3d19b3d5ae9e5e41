"""Confine what an attempt sets in its process to the attempt, however it ends: success, failure, retry, snooze, Ignore,
a limit.

Each attempt runs in a copy of the process's context (`contextvars`). The job's fields on log lines, the time until
which AWS requests are retried, the parent of spans, and everything that the body bound itself are discarded when
Celery's tracer returns or raises, whichever exit it takes. Values that the host bound when the process started are
visible as in any task.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from typing import Any, TypeVar, cast

from celery import Task

from jobclaim.jobs import log
from jobclaim.workers.attempt import soft_limit
from jobclaim.workers.handle import handle_of, installed_on

F = TypeVar("F", bound=Callable[..., Any])

Tracer = Callable[..., Any]
"""The result of `celery.app.trace.build_tracer`: it runs one message of a task, from its first hook to its last."""


def for_own_app(method: F) -> F:
    """Bind the log lines of a task's method to the task's app, also when it is called outside an attempt."""

    @wraps(method)
    def call(self: Task, *args: Any, **kwargs: Any) -> Any:
        if (handle := installed_on(self.app)) is None:
            return method(self, *args, **kwargs)
        with log.speaking_for(handle):
            return method(self, *args, **kwargs)

    return cast(F, call)


def contained(tracer: Tracer, task: Any) -> Tracer:
    """Make a tracer whose context ends with it, and whose log lines belong to the task's app."""

    def trace(*args: Any, **kwargs: Any) -> Any:
        log.speak_for(handle_of(task.app))
        soft_limit.begin_attempt()
        return tracer(*args, **kwargs)

    return lambda *args, **kwargs: copy_context().run(trace, *args, **kwargs)
