"""Inspect a Celery app, and return values for the rules."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from jobclaim.governance.audit_rules import InspectedApp, Registered
from jobclaim.governance.schedule_rules import HOTSPOT, World
from jobclaim.workers.handle import installed_on

OWN: Final = ("celery.", "jobclaim.", "recovery.", "workers.")
"""Prefixes of Celery's tasks and ours."""
ONCE: Final = ("idempot", "once", "singleton")
"""Parts of names of base classes that make a task idempotent, ours and others'."""


def world_of(app: Any, *, live_queues: frozenset[str] | None = None, hotspot: int = HOTSPOT) -> World:
    """Return what an app knows, for the rules of schedules.

    Parameters
    ----------
    live_queues : frozenset of str, optional
        Queues that live workers listen on; default those that the app declares.
    """
    settings = handle.settings if (handle := installed_on(app)) else None
    tasks = frozenset(app.tasks)
    zone = app.timezone if isinstance(app.timezone, tzinfo) else UTC
    declared = frozenset(app.amqp.queues)
    ours = settings is not None and "jobclaim.workers.schedule.beat" in str(app.conf.beat_scheduler)
    return World(
        tasks=tasks,
        idempotent=frozenset(name for name in tasks if _is_idempotent(app.tasks[name])),
        queues=live_queues if live_queues is not None else declared or frozenset({app.conf.task_default_queue}),
        queue_of={name: _queue(app, app.tasks[name]) for name in tasks},
        default_queue=app.conf.task_default_queue,
        expires_by_default=ours,
        expiring=frozenset(name for name in tasks if app.tasks[name].expires is not None),
        aligned=ours,
        zone=zone,
        year=datetime.now(UTC).year,
        hotspot=hotspot,
    )


def fleet_of(app: Any) -> InspectedApp:
    """Return what an app knows, for the rules of tasks."""
    settings = handle.settings if (handle := installed_on(app)) else None
    users = {name: _registered(app, task) for name, task in app.tasks.items() if not name.startswith(OWN)}
    if settings is None:
        return InspectedApp(users, tuple(app.amqp.queues))
    idle = {settings.default_queue, settings.recovery_queue}
    return InspectedApp(users, tuple(name for name in settings.queue_names if name not in idle))


def _registered(app: Any, task: Any) -> Registered:
    settings = handle.settings if (handle := installed_on(app)) else None
    queue = _queue(app, task)
    routed = bool(getattr(task, "queue", None)) or bool(app.amqp.router.lookup_route(task.name))
    if settings is not None:
        routed = routed or settings.task_spec(task.name).queue is not None
    return Registered(
        name=task.name,
        queue=queue,
        routed=routed or queue != app.conf.task_default_queue,
        limited=bool(task.time_limit or app.conf.task_time_limit),
        acks_late=bool(task.acks_late),
        claims=_is_claimed(task),
    )


def _queue(app: Any, task: Any) -> str:
    if installed_on(app) and callable(own := getattr(task, "queue_name", None)):
        return str(own())
    route = app.amqp.router.lookup_route(task.name) or {}
    queue = getattr(task, "queue", None) or route.get("queue") or app.conf.task_default_queue
    return str(getattr(queue, "name", queue))


def _is_claimed(task: Any) -> bool:
    return any(kind.__name__ == "JobTask" for kind in type(task).__mro__)


def _is_idempotent(task: Any) -> bool:
    """Return whether equal ticks become one job, as those of a `JobTask` do; other base classes are judged by their
    names.
    """
    if task.name.startswith(OWN) or _is_claimed(task):
        return True
    return any(word in kind.__name__.lower() for kind in type(task).__mro__ for word in ONCE)
