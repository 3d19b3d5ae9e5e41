"""Rules for tasks: in their source, and in the app that registered them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from jobclaim.governance import delivery_rules
from jobclaim.governance.delivery_rules import is_claimed
from jobclaim.governance.registry import InspectedApp, Registered
from jobclaim.governance.source import Source, TaskSource
from jobclaim.specs.finding import Finding

__all__ = ["RULES", "InspectedApp", "Registered", "audit"]

LIMIT_SETTINGS: Final = frozenset(
    {"task_time_limit", "task_soft_time_limit"}
    | {f"{prefix}{kind}TIME_LIMIT" for prefix in ("CELERY_TASK_", "CELERYD_TASK_") for kind in ("", "SOFT_")}
)
"""Settings that limit every task."""


Rule = Callable[[Source, InspectedApp | None], Iterable[Finding]]


def duplicate_names(source: Source, _: InspectedApp | None) -> Iterator[Finding]:
    """Find functions with the same task name: the one that is imported last wins."""
    named: dict[str, list[TaskSource]] = defaultdict(list)
    for task in source.tasks:
        named[task.name].append(task)
    for name, same in named.items():
        for task in same[1:]:
            yield Finding(
                "duplicate-names",
                name,
                task.file,
                task.line,
                f"task {name!r} is also defined at {same[0].file}:{same[0].line}; which one runs depends on the "
                "order of imports",
                "give one of them another name=",
            )


def mixed_decorators(source: Source, _: InspectedApp | None) -> Iterator[Finding]:
    """Find ``@app.task`` beside ``@shared_task``: some tasks import the app, which imports the tasks."""
    if any(task.decorator == "shared_task" for task in source.tasks):
        for task in source.tasks:
            if task.imports_app:
                yield Finding(
                    "mixed-decorators",
                    task.name,
                    task.file,
                    task.line,
                    "uses @app.task while other tasks use @shared_task, so its module imports the app",
                    "use @shared_task, which needs no import of the app",
                    cause="@app.task beside @shared_task",
                )


def only_app_tasks(source: Source, _: InspectedApp | None) -> Iterator[Finding]:
    """Find projects without a ``@shared_task``: every task module imports the app, which imports those modules."""
    if not any(task.decorator == "shared_task" for task in source.tasks):
        for task in source.tasks:
            if task.imports_app:
                yield Finding(
                    "only-app-tasks",
                    task.name,
                    task.file,
                    task.line,
                    "uses @app.task, as all tasks here do, so its module imports the app and belongs to this one app",
                    "use @shared_task, which needs no import of the app and belongs to whichever app is in use",
                    cause="no task uses @shared_task",
                )


def odd_names(source: Source, fleet: InspectedApp | None) -> Iterator[Finding]:
    """Find names that are awkward in routes, searches or shells."""
    known = {task.name: task for task in source.tasks}
    for name in dict.fromkeys([*known, *(fleet.tasks if fleet else ())]):
        if any(character in "()[]{} \t\n" for character in name):
            task = known.get(name)
            yield Finding(
                "odd-names",
                name,
                task.file if task else "",
                task.line if task else 0,
                f"task name {name!r} has parentheses or spaces, so routes by pattern and `jobclaim submit` do not "
                "find it",
                "name it with letters, digits, '_', '-' and '.' only",
            )


def unrouted(source: Source, fleet: InspectedApp | None) -> Iterator[Finding]:
    """Find tasks without a route: they go to the default queue, whatever their priority."""
    used = {*fleet.queues, *(task.queue for task in fleet.tasks.values())} if fleet else set()
    for task, place in _registered(source, fleet):
        if not task.routed and used - {task.queue}:  # with one queue there is nothing to route
            yield Finding(
                "unrouted",
                task.name,
                *place,
                f"has no queue of its own and no route, so it goes to the default queue {task.queue!r}",
                "route it in Settings.tasks (a pattern will do), or give it queue=",
                cause="no route for all tasks",
            )


def unlimited(source: Source, fleet: InspectedApp | None) -> Iterator[Finding]:
    """Find tasks without a hard limit: a hung one blocks its process forever, and no visibility timeout covers it."""
    fix = "give it time_limit= and soft_time_limit=, or set task_time_limit for all"
    problem = "has no time limit: a hung body holds its process forever, and SQS redelivers the message"
    cause = "no time limit for all tasks"
    if fleet is not None:
        for task, place in _registered(source, fleet):
            if not task.limited:
                yield Finding("unlimited", task.name, *place, problem, fix, cause=cause)
    elif not (source.installs_jobclaim or source.words & LIMIT_SETTINGS):
        for seen in source.tasks:
            if not is_claimed(seen) and not seen.options.keys() & {"time_limit", "soft_time_limit"}:
                yield Finding("unlimited", seen.name, seen.file, seen.line, problem, fix, cause=cause)


def unused_queues(_: Source, fleet: InspectedApp | None) -> Iterator[Finding]:
    """Find queues that no task uses: they cost polls and alarms."""
    used = {task.queue for task in fleet.tasks.values()} if fleet else set()
    for queue in fleet.queues if fleet else ():
        if queue not in used:
            yield Finding(
                "unused-queues",
                queue,
                "",
                0,
                f"no registered task goes to queue {queue!r}",
                "route a task to it, or remove it from the settings",
            )


RULES: Final[Mapping[str, Rule]] = {
    "duplicate-names": duplicate_names,
    "mixed-decorators": mixed_decorators,
    "only-app-tasks": only_app_tasks,
    "odd-names": odd_names,
    "unrouted": unrouted,
    "unlimited": unlimited,
    "acks-late": delivery_rules.acks_late,
    "reject-on-worker-lost": delivery_rules.reject_on_worker_lost,
    "visibility-timeout": delivery_rules.visibility_timeouts,
    "serializers": delivery_rules.serializers,
    "argument-types": delivery_rules.argument_types,
    "own-transport": delivery_rules.own_transports,
    "far-eta": delivery_rules.far_etas,
    "unclaimed-writes": delivery_rules.unclaimed_writes,
    "claim-overrides": delivery_rules.claim_overrides,
    "unused-queues": unused_queues,
}
"""Every rule by the name of its check."""


def audit(source: Source, fleet: InspectedApp | None = None, checks: Iterable[str] = ()) -> list[Finding]:
    """Run some checks, default all."""
    return [one for name in (list(checks) or RULES) for one in RULES[name](source, fleet)]


def _registered(source: Source, fleet: InspectedApp | None) -> Sequence[tuple[Registered, tuple[str, int]]]:
    places = {task.name: (task.file, task.line) for task in source.tasks}
    return [(task, places.get(task.name, ("", 0))) for task in (fleet.tasks.values() if fleet else ())]
