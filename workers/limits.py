"""Time limits and routes of tasks: taken from settings where a task has none of its own, and checked before a worker
starts.

A task may run at most as long as the longest hard limit of its queue: visibility timeout and lease are derived from
that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jobclaim.jobs import InvalidInput
from jobclaim.jobs.idempotency import window_seconds
from jobclaim.jobs.throttle import MAX_CONCURRENCY, RateLimit
from jobclaim.settings import Limits, Settings


def time_limits(soft: float | None, hard: float | None, usual: Limits) -> Limits:
    """Complete a task's own limits, seconds, with what settings say about it.

    A soft limit that is missing beside an own hard one keeps the usual distance in proportion.
    """
    if hard is None:
        return Limits(soft=int(soft) if soft is not None else usual.soft, hard=usual.hard)
    if soft is None:
        soft = min(usual.soft, max(1, int(hard * usual.soft / usual.hard)))
    return Limits(soft=int(soft), hard=int(hard))


def adopt(task: Any, settings: Settings) -> None:
    """Give a task class its limits before Celery fills in those of the default queue."""
    try:
        usual = settings.limits(task.name, queue_of(task, settings))
    except ValueError:
        return  # an unknown queue: `problems` says so before a worker starts, a submission is refused
    own = vars(task)
    hard_alone = "time_limit" in own and "soft_time_limit" not in own  # then an inherited soft limit is none of its own
    limits = time_limits(None if hard_alone else task.soft_time_limit, task.time_limit, usual)
    task.soft_time_limit, task.time_limit = limits.soft, limits.hard


def queue_of(task: Any, settings: Settings) -> str:
    """Queue of a task's jobs: its own ``queue``, else where settings route it."""
    own = getattr(task, "queue", None)
    return str(own) if own else settings.queue_of(task.name)


def check_call(task: str, queue: str, hard: float | None, settings: Settings) -> None:
    """Refuse a call whose own time limit its queue does not allow.

    Raises
    ------
    InvalidInput
    """
    if hard is not None and queue in settings.queue_names and hard > settings.longest_hard_limit(queue):
        raise InvalidInput(_too_long(task, queue, hard, settings))


def problems(tasks: Iterable[Any], settings: Settings) -> list[str]:
    """Name everything for which a worker must not start: each with task, value and remedy."""
    return [problem for task in tasks for problem in _problems_of(task, settings)]


def _problems_of(task: Any, settings: Settings) -> list[str]:
    queue = queue_of(task, settings)
    found = []
    try:
        settings.queue(queue)
    except ValueError as error:
        found.append(f"task {task.name!r}: {error}")
    else:
        found += _wrong_limits(task, queue, settings)
    for check in (_check_rate, _check_concurrency, _check_idempotency):
        try:
            check(task)
        except InvalidInput as error:
            found.append(f"task {task.name!r}: {error}")
    return found


def _wrong_limits(task: Any, queue: str, settings: Settings) -> list[str]:
    soft, hard = task.soft_time_limit, task.time_limit
    found = []
    if hard is not None and hard > settings.longest_hard_limit(queue):
        found.append(_too_long(task.name, queue, hard, settings))
    if soft is not None and hard is not None and soft > hard:
        found.append(
            f"task {task.name!r}: soft_time_limit={soft} must be below time_limit={hard}, else it is killed before "
            "it can clean up"
        )
    return found


def _too_long(task: str, queue: str, hard: float, settings: Settings) -> str:
    return (
        f"task {task!r}: time_limit={hard} is above {settings.longest_hard_limit(queue)} s, the longest hard limit "
        f"of queue {queue!r}; visibility timeout and lease follow from that. Route it to a queue for longer tasks, "
        f"lower its limit, or raise it in settings (tasks[{task!r}].hard_limit or the queue's hard_limit)"
    )


def _check_rate(task: Any) -> None:
    if task.rate_limit:
        RateLimit.parse(task.rate_limit, task.rate_burst)


def _check_concurrency(task: Any) -> None:
    limit = task.concurrency_limit
    if task.concurrency_key is not None and not (type(limit) is int and 1 <= limit <= MAX_CONCURRENCY):
        raise InvalidInput(f"concurrency_limit={limit!r} must be a whole number from 1 to {MAX_CONCURRENCY}")


def _check_idempotency(task: Any) -> None:
    if rules := task.idempotency_rules():
        rules.check()
        window_seconds(task.idempotency_ttl)
