"""Rules for tasks and settings that work against the claim: acknowledgment, redelivery, hidden methods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from jobclaim.governance.configuration import UNSAFE
from jobclaim.governance.overrides import CLAIMING
from jobclaim.governance.registry import InspectedApp
from jobclaim.governance.source import Source, TaskSource
from jobclaim.specs.finding import Finding

SQS_MAX_DELAY: Final = 900
"""Longest delay of SQS, seconds; Celery holds messages with a longer one in a worker's memory."""


def is_claimed(task: TaskSource) -> bool:
    """Return whether a task's base class claims."""
    return bool(CLAIMING & set(task.bases))


def acks_late(source: Source, fleet: InspectedApp | None) -> Iterator[Finding]:
    """Find late acknowledgment: a body longer than the visibility timeout is delivered again while it runs."""
    late = {task.name for task in source.tasks if task.options.get("acks_late") is True}
    settings = [one for one in source.settings if one.kind == "acks-late"]
    if not settings:  # a finding about the setting covers all tasks
        late |= {task.name for task in (fleet.tasks.values() if fleet else ()) if task.acks_late}
    places = {task.name: (task.file, task.line) for task in source.tasks}
    of_tasks = [(name, *places.get(name, ("", 0)), "tasks with acks_late=True") for name in sorted(late)]
    of_settings = [(one.name, one.file, one.line, "settings of late acknowledgment") for one in settings]
    for name, file, line, cause in [*of_tasks, *of_settings]:
        yield Finding(
            "acks-late",
            name,
            file,
            line,
            "acks_late=True keeps the message until the body has ended, so a body that outlasts the visibility "
            "timeout runs twice",
            "remove it; with base=JobTask the claim decides, and recovery finds the jobs of lost workers",
            cause=cause,
        )


def reject_on_worker_lost(source: Source, _: InspectedApp | None) -> Iterator[Finding]:
    """Find messages that return when their worker is lost: they and recovery would start the work twice."""
    rows = [
        (task.name, task.file, task.line) for task in source.tasks if task.options.get("reject_on_worker_lost") is True
    ]
    rows += [(one.name, one.file, one.line) for one in source.settings if one.kind == "reject-on-worker-lost"]
    for name, file, line in rows:
        yield Finding(
            "reject-on-worker-lost",
            name,
            file,
            line,
            "reject_on_worker_lost=True requeues the message of a lost worker: it has an effect only with acks_late, "
            "and the body runs again from its start",
            "remove it; recovery finds the jobs of lost workers, and on_orphan= says what happens to them",
            cause="reject_on_worker_lost=True",
        )


def visibility_timeouts(source: Source, _: InspectedApp | None) -> Iterator[Finding]:
    """Find visibility timeouts set by hand: jobclaim derives them from time limits, and refuses queues that differ."""
    for one in source.settings:
        if one.kind == "visibility-timeout":
            yield Finding(
                "visibility-timeout",
                one.name,
                one.file,
                one.line,
                f"visibility_timeout={one.value} is set by hand, and nothing warns when a changed time limit makes "
                "it too low",
                "remove it; it is derived from the queue's time limits, and `jobclaim doctor` checks the deployed one",
            )


def serializers(source: Source, _: InspectedApp | None) -> Iterator[Finding]:
    """Find serializers that can build any object: jobs are JSON, and a worker refuses other messages."""
    rows = [(one.name, one.value, one.file, one.line) for one in source.settings if one.kind == "unsafe-serializer"]
    rows += [
        (task.name, repr(given), task.file, task.line)
        for task in source.tasks
        if isinstance(given := task.options.get("serializer"), str) and UNSAFE.search(given)
    ]
    for name, value, file, line in rows:
        yield Finding(
            "serializers",
            name,
            file,
            line,
            f"uses {value}: jobs are JSON, so arguments and results of other types are refused, and whoever can "
            "write to the queue can run code in a worker",
            "use json, and give tasks ids and plain values",
            cause="serializers other than JSON",
        )


def argument_types(source: Source, _: InspectedApp | None) -> Iterator[Finding]:
    """Find arguments and results that JSON cannot encode: such a call is refused, and such a result fails its job."""
    for task in source.tasks:
        for name, kind, instead in task.types:
            what = "its result" if name == "return" else f"argument {name!r}"
            when = "the job fails after its body has run" if name == "return" else "its calls are refused"
            yield Finding(
                "argument-types",
                task.name,
                task.file,
                task.line,
                f"{what} is annotated {kind}, which a job cannot carry: {when}",
                f"{instead}; see docs/migration.md for what jobs carry",
            )


def own_transports(source: Source, _: InspectedApp | None) -> Iterator[Finding]:
    """Find custom transports: jobclaim provides one, and only one can be in use."""
    for one in source.settings:
        if one.kind == "own-transport":
            yield Finding(
                "own-transport",
                one.name,
                one.file,
                one.line,
                f"sets its own transport, {one.value}, so jobclaim's, which continues after errors of SQS, is not used",
                "remove it; docs/workers.md says what jobclaim's transport repairs",
            )


def far_etas(source: Source, _: InspectedApp | None) -> Iterator[Finding]:
    """Find calls of plain tasks with a far ETA: Celery holds them in a worker's memory, and SQS delivers them again."""
    claimed = {task.function for task in source.tasks if is_claimed(task)}
    for call in source.etas:
        if call.target.split(".")[-1] in claimed or (call.countdown is not None and call.countdown <= SQS_MAX_DELAY):
            continue
        when = "an eta" if call.countdown is None else f"countdown={call.countdown:g}"
        yield Finding(
            "far-eta",
            call.target,
            call.file,
            call.line,
            f"uses {when} on a plain task: beyond {SQS_MAX_DELAY} s a worker holds the message in memory, and SQS "
            "redelivers it after each visibility timeout",
            "give the task base=JobTask: its job waits in DynamoDB and starts once, when it is due",
        )


def unclaimed_writes(source: Source, fleet: InspectedApp | None) -> Iterator[Finding]:
    """Find bodies that write state without a claim: a message that SQS delivers twice is written twice."""
    claimed = {name for name, task in fleet.tasks.items() if task.claims} if fleet else set()
    for task in source.tasks:
        if task.writes and not task.claims and not is_claimed(task) and task.name not in claimed:
            line, call = task.writes[0]
            more = f" and {len(task.writes) - 1} more" if len(task.writes) > 1 else ""
            yield Finding(
                "unclaimed-writes",
                task.name,
                task.file,
                line,
                f"writes state ({call}{more}) without a claim, so a message that is delivered twice writes twice",
                _claim_it(task, source),
            )


def _claim_it(task: TaskSource, source: Source) -> str:
    if task.function in source.errbacks:
        return (
            "it is an errback, which has no job of its own: make the write repeatable, for example update_or_create "
            "by the failed task's id"
        )
    return "give it base=JobTask, or claim the job first: `if repo.claim_job(job_id) is None: return`"


def claim_overrides(source: Source, _: InspectedApp | None) -> Iterator[Finding]:
    """Find classes of claimed tasks that override what a worker relies on, or what their base classes do."""
    for one in source.overrides:
        if one.refused:
            problem = f"overrides {one.method}, which is jobclaim's own, so a worker with this task does not start"
            fix = "rename or remove it"
        elif one.method == "Request":
            problem = (
                "sets its own Request: jobclaim's runs before it, and Celery's methods that it overrides do not run"
            )
            fix = "derive it from celery.worker.request.Request, and call super() in its methods"
        else:
            problem = f"overrides {one.method}() without super(), so the methods of its base classes do not run"
            fix = f"call super().{one.method}(...) in it"
        yield Finding("claim-overrides", one.owner, one.file, one.line, problem, fix)
