"""``@with_idempotency`` above ``@shared_task`` makes a task idempotent that is defined elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar
from weakref import WeakSet

from celery import Celery, Task
from celery.app.autoretry import add_autoretry_behaviour
from celery.local import Proxy

from jobclaim.workers.bases import Idempotent
from jobclaim.workers.sealed import declared, sealed
from jobclaim.workers.submission.idempotency import KeyFrom, Rules, Scope
from jobclaim.workers.task import JobTask

T = TypeVar("T")

_decorated: Final[list[tuple[Any, dict[str, Any]]]] = []
_apps: Final[WeakSet[Celery]] = WeakSet()


def with_idempotency(
    scope: Scope = "global",
    ttl: float | str | None = None,
    *,
    argument: str | None = None,
    key_from: KeyFrom | None = None,
) -> Callable[[T], T]:
    """Make equal calls of a task one job.

    ::

        @with_idempotency(scope="user", ttl=3600)
        @shared_task(bind=True)
        def export_data(self, user_id, kind): ...

    Parameters
    ----------
    scope, ttl, argument, key_from
        As ``idempotency_scope``, ``idempotency_ttl``, ``idempotency_scope_argument`` and ``idempotency_key_from`` of
        `jobclaim.workers.bases.Idempotent`. What the task sets itself (retries, limits, another base class) stays.

    Raises
    ------
    TypeError
        It is below ``@shared_task``, where it gets a function instead of a task.
    jobs.InvalidInput
        The scope is unknown.
    """
    Rules(scope=scope).check()
    attributes = {
        "idempotency_scope": scope,
        "idempotency_ttl": ttl,
        "idempotency_scope_argument": argument,
        "idempotency_key_from": key_from,
    }

    def decorate(task: T) -> T:
        if not issubclass(type(task), (Task, Proxy)):
            raise TypeError(
                f"put @with_idempotency above @shared_task; below it, {task!r} is still a function, not a task"
            )
        _decorated.append((task, attributes))
        for app in _apps:
            if app.finalized:
                _convert(app, task, attributes)
        return task

    return decorate


def watch(app: Celery) -> None:
    """Make an app convert its decorated tasks as soon as it has them."""
    _apps.add(app)
    app.on_after_finalize.connect(_convert_all, weak=False)


def _convert_all(sender: Celery, **_: Any) -> None:
    for task, attributes in _decorated:
        _convert(sender, task, attributes)


def _convert(app: Celery, decorated: Any, attributes: dict[str, Any]) -> None:
    """Give the app's own copy of the task an idempotent class; its function and options stay."""
    task = app.tasks.get(decorated.name)
    if task is None:  # the task belongs to another app
        return
    old = declared(type(task))
    bases = (old,) if issubclass(old, Idempotent) else (old, Idempotent)
    kept = {"__module__": old.__module__, "__doc__": old.__doc__}
    task.__class__ = sealed(type(old.__name__, bases, {**kept, **attributes, **_not_its_own(old, app)}))
    task.bind(app)
    add_autoretry_behaviour(task)


def _not_its_own(old: type[Task], app: Celery) -> dict[str, None]:
    """Reset the limits that Celery filled in for a plain task that had none: a job's limits come from its queue."""
    if issubclass(old, JobTask):
        return {}
    defaults = {"time_limit": app.conf.task_time_limit, "soft_time_limit": app.conf.task_soft_time_limit}
    return {name: None for name, value in defaults.items() if getattr(old, name) == value}
