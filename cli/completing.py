"""Shell completion of queues, tasks, jobs and workers: bounded, and silent when something is missing or fails.

It reads one page of jobs, or the fleet table once, and waits for that at most `PATIENCE_SECONDS`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stderr, suppress
from io import StringIO
from typing import Final

import click
from click.shell_completion import CompletionItem

from jobclaim.cli.session import Session

PATIENCE_SECONDS: Final = 0.9
MOST: Final = 30
"""Most jobs per state that are offered."""
STATES: Final[Mapping[str, tuple[str, ...]]] = {
    "cancel": ("PROCESSING", "PENDING"),
    "dead": ("FAILED",),
    "resume": ("PENDING",),
    "retry": ("FAILED",),
}
"""States of the jobs that a command accepts; default: open and failed ones."""

Words = Iterable[tuple[str, str]]
"""What may be completed, each with a remark."""


def add_completion(command: click.Command) -> None:
    """Complete a command's parameters by their names."""
    for param in command.params:
        known = "queue" if param.metavar == "QUEUE" else param.name
        if known in _WORDS:
            setattr(param, "shell_complete", _completer(_WORDS[known]))  # noqa: B010 - mypy refuses to assign a method


def _completer(words: Callable[[Session, str], Words]) -> Callable[[click.Context, str], list[CompletionItem]]:
    def complete(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found: list[CompletionItem] = []
        verb = ctx.parent.info_name if ctx.parent and ctx.parent.info_name in STATES else ctx.info_name

        def look() -> None:
            with suppress(Exception):
                for word, remark in words(ctx.find_object(Session) or Session(), verb or ""):
                    if word.startswith(incomplete):
                        found.append(CompletionItem(word, help=remark or None))

        thread = threading.Thread(target=look, daemon=True)
        with redirect_stderr(StringIO()):
            thread.start()
            thread.join(PATIENCE_SECONDS)
        return list(found)

    return complete


def _queues(session: Session, _: str) -> Words:
    return ((name, "") for name in session.settings.queue_names)


def _tasks(session: Session, _: str) -> Words:
    from jobclaim.workers.submission.by_name import users_tasks

    return ((name, "") for name in users_tasks(session.app_with_tasks))


def _jobs(session: Session, verb: str) -> Words:
    for status in STATES.get(verb, ("PROCESSING", "PENDING", "FAILED")):
        for job in session.repo.list_jobs(status, limit=MOST).jobs:
            yield job.job_id, f"{job.status} {job.task}"


def _workers(session: Session, _: str) -> Words:
    from jobclaim.fleet.workers import FleetRecords

    return ((record.worker_id, ", ".join(record.queues)) for record in FleetRecords.of(session.repo).all())


_WORDS: Final[Mapping[str | None, Callable[[Session, str], Words]]] = {
    "queue": _queues,
    "queues": _queues,
    "task": _tasks,
    "job_id": _jobs,
    "job_ids": _jobs,
    "worker_id": _workers,
}
