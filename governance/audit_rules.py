"""What can be wrong with tasks: in their source, and in the app that registered them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from jobclaim.governance.finding import Finding
from jobclaim.governance.overrides import CLAIMING
from jobclaim.governance.source import Source, TaskSource

SQS_MAX_DELAY: Final = 900
"""Seconds that SQS can keep a message back; Celery holds longer ones in a worker's memory."""
LIMIT_SETTINGS: Final = frozenset(
    {"task_time_limit", "CELERY_TASK_TIME_LIMIT", "CELERYD_TASK_TIME_LIMIT", "task_soft_time_limit"}
)


@dataclass(frozen=True, slots=True)
class Registered:
    """A task as the app knows it."""

    name: str
    queue: str = ""
    routed: bool = True
    limited: bool = True
    acks_late: bool = False
    claims: bool = False


@dataclass(frozen=True, slots=True)
class Fleet:
    """The app: its tasks, and its queues that carry tasks; ``None`` where the code was only read."""

    tasks: Mapping[str, Registered] = field(default_factory=dict)
    queues: tuple[str, ...] = ()


Rule = Callable[[Source, Fleet | None], Iterable[Finding]]


def duplicate_names(source: Source, _: Fleet | None) -> Iterator[Finding]:
    """Two functions under one name: the one that is imported last wins."""
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
                f"task {name!r} is defined at {same[0].file}:{same[0].line} too; which one runs depends on the imports",
                "give one of them another name=",
            )


def mixed_decorators(source: Source, _: Fleet | None) -> Iterator[Finding]:
    """``@app.task`` beside ``@shared_task``: half the tasks import the app, which imports the tasks."""
    kinds = {task.decorator for task in source.tasks}
    for task in source.tasks if len(kinds) > 1 else ():
        if task.decorator == "app.task":
            yield Finding(
                "mixed-decorators",
                task.name,
                task.file,
                task.line,
                "uses @app.task while other tasks use @shared_task: the module imports the app",
                "use @shared_task, which needs no import of the app",
            )


def odd_names(source: Source, fleet: Fleet | None) -> Iterator[Finding]:
    """Names that no route, search or shell takes well."""
    known = {task.name: task for task in source.tasks}
    for name in dict.fromkeys([*known, *(fleet.tasks if fleet else ())]):
        if any(character in "()[]{} \t\n" for character in name):
            task = known.get(name)
            yield Finding(
                "odd-names",
                name,
                task.file if task else "",
                task.line if task else 0,
                f"task name {name!r} has parentheses or spaces: routes by pattern and `jobclaim submit` miss it",
                "name it with letters, digits, '_', '-' and '.' only",
            )


def unrouted(source: Source, fleet: Fleet | None) -> Iterator[Finding]:
    """Tasks that nobody sent anywhere: they fall into the default queue, before or behind everything."""
    used = {*fleet.queues, *(task.queue for task in fleet.tasks.values())} if fleet else set()
    for task, place in _registered(source, fleet):
        if not task.routed and used - {task.queue}:  # with one queue there is nothing to choose
            yield Finding(
                "unrouted",
                task.name,
                *place,
                f"has no queue of its own and no route, so it goes to the default queue {task.queue!r}",
                "route it in Settings.tasks (a pattern will do), or give it queue=",
            )


def unlimited(source: Source, fleet: Fleet | None) -> Iterator[Finding]:
    """Tasks without a hard limit: a hung one holds its process for ever, and no visibility timeout covers it."""
    fix = "give it time_limit= and soft_time_limit=, or set task_time_limit for all"
    problem = "has no time limit: a hung body holds its process for ever, and SQS delivers the message again"
    if fleet is not None:
        for task, place in _registered(source, fleet):
            if not task.limited:
                yield Finding("unlimited", task.name, *place, problem, fix)
    elif not source.words & LIMIT_SETTINGS:
        for seen in source.tasks:
            if not _claims(seen) and not seen.options.keys() & {"time_limit", "soft_time_limit"}:
                yield Finding("unlimited", seen.name, seen.file, seen.line, problem, fix)


def acks_late(source: Source, fleet: Fleet | None) -> Iterator[Finding]:
    """Late acknowledgement: a body longer than the visibility timeout is delivered again beside itself."""
    late = {task.name for task in source.tasks if task.options.get("acks_late") is True}
    settings = [one for one in source.settings if one.kind == "acks-late"]
    if not settings:  # else one setting explains them all
        late |= {task.name for task in (fleet.tasks.values() if fleet else ()) if task.acks_late}
    places = {task.name: (task.file, task.line) for task in source.tasks}
    named = [(name, *places.get(name, ("", 0))) for name in sorted(late)]
    for name, file, line in [
        *named,
        *((one.name, one.file, one.line) for one in settings),
    ]:
        yield Finding(
            "acks-late",
            name,
            file,
            line,
            "acks_late=True keeps the message until the body has ended: past the visibility timeout it runs twice",
            "remove it; with base=JobTask the claim decides, and recovery finds the jobs of lost workers",
        )


def far_etas(source: Source, _: Fleet | None) -> Iterator[Finding]:
    """Calls far ahead of plain tasks: Celery holds them in a worker's memory, and SQS delivers them again."""
    claimed = {task.function for task in source.tasks if _claims(task)}
    for call in source.etas:
        if call.target.split(".")[-1] in claimed or (call.countdown is not None and call.countdown <= SQS_MAX_DELAY):
            continue
        when = "an eta" if call.countdown is None else f"countdown={call.countdown:g}"
        yield Finding(
            "far-eta",
            call.target,
            call.file,
            call.line,
            f"asks for {when} on a plain task: beyond {SQS_MAX_DELAY} s a worker holds the message in memory, and it "
            "is delivered again after each visibility timeout",
            "give the task base=JobTask: a job far ahead waits in DynamoDB and starts on the second, once",
        )


def unclaimed_writes(source: Source, fleet: Fleet | None) -> Iterator[Finding]:
    """Bodies that write state without a claim: what SQS delivers twice is written twice."""
    claimed = {name for name, task in fleet.tasks.items() if task.claims} if fleet else set()
    for task in source.tasks:
        if task.writes and not task.claims and not _claims(task) and task.name not in claimed:
            line, call = task.writes[0]
            more = f" and {len(task.writes) - 1} more" if len(task.writes) > 1 else ""
            yield Finding(
                "unclaimed-writes",
                task.name,
                task.file,
                line,
                f"writes state ({call}{more}) without a claim: a message that comes twice writes twice",
                "give it base=JobTask, or claim the job first: `if repo.claim_job(job_id) is None: return`",
            )


def unused_queues(_: Source, fleet: Fleet | None) -> Iterator[Finding]:
    """Queues that cost polls and alarms, and carry nothing."""
    used = {task.queue for task in fleet.tasks.values()} if fleet else set()
    for queue in fleet.queues if fleet else ():
        if queue not in used:
            yield Finding(
                "unused-queues",
                queue,
                "",
                0,
                f"no registered task goes to queue {queue!r}",
                "route a task to it, or take it out of the settings",
            )


RULES: Final[Mapping[str, Rule]] = {
    "duplicate-names": duplicate_names,
    "mixed-decorators": mixed_decorators,
    "odd-names": odd_names,
    "unrouted": unrouted,
    "unlimited": unlimited,
    "acks-late": acks_late,
    "far-eta": far_etas,
    "unclaimed-writes": unclaimed_writes,
    "unused-queues": unused_queues,
}
"""Every rule by the name of its check."""


def audit(source: Source, fleet: Fleet | None = None, checks: Iterable[str] = ()) -> list[Finding]:
    """Run some checks, default all."""
    return [one for name in (list(checks) or RULES) for one in RULES[name](source, fleet)]


def _claims(task: TaskSource) -> bool:
    return bool(CLAIMING & set(task.bases))


def _registered(source: Source, fleet: Fleet | None) -> Sequence[tuple[Registered, tuple[str, int]]]:
    places = {task.name: (task.file, task.line) for task in source.tasks}
    return [(task, places.get(task.name, ("", 0))) for task in (fleet.tasks.values() if fleet else ())]
