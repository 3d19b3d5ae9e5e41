"""Time limits and routes of tasks: from settings if a task has none of its own, and checked before a worker starts.

A task may run at most as long as the longest hard limit of its queue: visibility timeout and lease are derived from
that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from celery.app.routes import Router

from jobclaim.jobs import InvalidInput
from jobclaim.jobs.idempotency import window_seconds
from jobclaim.settings import Limits, Settings
from jobclaim.workers.handle import Handle
from jobclaim.workers.sealed import declared
from jobclaim.workers.submission import attributes


def time_limits(soft: float | None, hard: float | None, usual: Limits) -> Limits:
    """Complete a task's own limits, seconds, from the settings.

    A soft limit that is missing next to the task's own hard one keeps the usual ratio.
    """
    if hard is None:
        return Limits(soft=int(soft) if soft is not None else usual.soft, hard=usual.hard)
    if soft is None:
        soft = min(usual.soft, max(1, int(hard * usual.soft / usual.hard)))
    return Limits(soft=int(soft), hard=int(hard))


def adopt(task: Any, handle: Handle) -> None:
    """Set a task class's limits before Celery fills in those of the default queue."""
    try:
        usual = handle.settings.limits(task.name, queue_of(task, handle))
    except ValueError:
        return  # an unknown queue: `problems` reports it before a worker starts, and submissions are refused
    own = vars(declared(task))
    hard_alone = "time_limit" in own and "soft_time_limit" not in own  # then an inherited soft limit does not count
    limits = time_limits(None if hard_alone else task.soft_time_limit, task.time_limit, usual)
    task.soft_time_limit, task.time_limit = limits.soft, limits.hard


def queue_of(task: Any, handle: Handle, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> str:
    """Return the queue of a task's jobs: its own ``queue``, else the settings' route, else the app's ``task_routes``.

    Parameters
    ----------
    args, kwargs : optional
        The call's arguments, for routes that are functions of them.
    """
    return named_queue(task, handle, args, kwargs) or handle.settings.default_queue


def named_queue(
    task: Any, handle: Handle, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> str | None:
    """Return the queue that the task, the settings or the host's routes name for a call; ``None`` if none does."""
    if own := getattr(task, "queue", None):
        return str(getattr(own, "name", own))
    return handle.settings.task_spec(task.name).queue or host_route(task, handle, args, kwargs)


def host_route(
    task: Any, handle: Handle, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> str | None:
    """Return the queue to which the host's ``task_routes`` send a call; ``None`` if they do not match it."""
    if not handle.host_routes:
        return None
    router = Router(routes=handle.host_routes, app=handle.app)
    route = router.lookup_route(task.name, args, dict(kwargs or {}), {}, task) or {}
    queue = route if isinstance(route, str) else route.get("queue")
    return str(getattr(queue, "name", queue)) if queue else None


def check_call(task: str, queue: str, hard: float | None, settings: Settings) -> None:
    """Refuse a call whose own time limit its queue does not allow.

    Raises
    ------
    InvalidInput
    """
    if hard is not None and queue in settings.queue_names and hard > settings.longest_hard_limit(queue):
        raise InvalidInput(_too_long(task, queue, hard, settings))


def check_soft(task: str, soft: float | None, hard: float | None) -> None:
    """Refuse a call whose own soft limit is above its hard one.

    Raises
    ------
    InvalidInput
    """
    for problem in _above_hard(task, soft, hard):
        raise InvalidInput(problem)


def adopt_plain(task: Any, handle: Handle) -> None:
    """Set the limits of a plain task from its queue where neither the task nor the host sets any.

    Celery has filled in the limits of the app's configuration, which are those of the default queue.
    """
    merged = handle.merged
    if task.time_limit not in (None, merged.get("task_time_limit")):
        return
    soft = task.soft_time_limit if task.soft_time_limit != merged.get("task_soft_time_limit") else None
    with suppress(ValueError):  # raised for one of the host's own queues
        limits = time_limits(soft, None, handle.settings.limits(task.name, queue_of(task, handle)))
        task.soft_time_limit, task.time_limit = limits.soft, limits.hard


def problems(tasks: Iterable[Any], handle: Handle) -> list[str]:
    """List all problems for which a worker must not start, each with task, value and remedy.

    Plain tasks are checked too: any body may claim, so none may run longer than its queue's lease.
    """
    return [
        problem
        for task in tasks
        for problem in (_problems_of if hasattr(task, "idempotency_rules") else _plain_problems_of)(task, handle)
    ]


def _plain_problems_of(task: Any, handle: Handle) -> list[str]:
    adopt_plain(task, handle)
    queue, settings = queue_of(task, handle), handle.settings
    found = _late_acks(task)
    if queue in settings.queue_names:
        found += _wrong_limits(task, queue, settings)
    return found


def _late_acks(task: Any) -> list[str]:
    if not task.acks_late:
        return []
    problem = (
        f"task {task.name!r}: acks_late=True contradicts the claim rule: its message would be redelivered while its "
        "claim holds, but the claim, not the message, is the authority. Remove acks_late (or task_acks_late from the "
        "app's configuration); recovery finds the jobs of lost workers"
    )
    return [problem]


def _problems_of(task: Any, handle: Handle) -> list[str]:
    queue, settings = queue_of(task, handle), handle.settings
    found = [*_two_routes(task, handle), *_late_acks(task)]
    try:
        settings.queue(queue)
    except ValueError as error:
        found.append(f"task {task.name!r}: {error}")
    else:
        found += _wrong_limits(task, queue, settings)
    found += [f"task {task.name!r}: {problem}" for problem in attributes.problems(task)]
    try:
        _check_idempotency(task)
    except InvalidInput as error:
        found.append(f"task {task.name!r}: {error}")
    return found


def _two_routes(task: Any, handle: Handle) -> list[str]:
    ours, host_queue = handle.settings.task_spec(task.name).queue, host_route(task, handle)
    if ours is None or host_queue is None or ours == host_queue:
        return []
    routes = f"queue {ours!r} and the app's task_routes to {host_queue!r}"
    return [f"task {task.name!r}: jobclaim's settings route it to {routes}; remove one"]


def _wrong_limits(task: Any, queue: str, settings: Settings) -> list[str]:
    soft, hard = task.soft_time_limit, task.time_limit
    found = []
    if hard is not None and hard > settings.longest_hard_limit(queue):
        found.append(_too_long(task.name, queue, hard, settings))
    return [*found, *_above_hard(task.name, soft, hard)]


def _above_hard(task: str, soft: float | None, hard: float | None) -> list[str]:
    if soft is None or hard is None or soft <= hard:
        return []
    problem = (
        f"task {task!r}: soft_time_limit={soft} must be below time_limit={hard}, otherwise it is killed before it can "
        "clean up; lower soft_time_limit"
    )
    return [problem]


def _too_long(task: str, queue: str, hard: float, settings: Settings) -> str:
    return (
        f"task {task!r}: time_limit={hard} is above {settings.longest_hard_limit(queue)} s, the longest hard limit of "
        f"queue {queue!r}, from which its visibility timeout and lease are derived. Route it to a queue for longer "
        f"tasks, lower its limit, or raise the limit in settings (tasks[{task!r}].hard_limit or the queue's "
        "hard_limit)"
    )


def _check_idempotency(task: Any) -> None:
    if rules := task.idempotency_rules():
        rules.check()
        window_seconds(task.idempotency_ttl)
