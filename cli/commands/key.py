"""`jobclaim key`: look up the job under an idempotency key, and clear the key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from jobclaim.cli.drawing import Drawn, stacked
from jobclaim.cli.errors import NotFound
from jobclaim.cli.output import Format, Output, output_option
from jobclaim.cli.session import Session, pass_session

if TYPE_CHECKING:
    from jobclaim.jobs import Job


@click.group(
    epilog="""\b
Examples:
  jobclaim key show billing.charge invoice-42
  jobclaim key show billing.charge --values '{"invoice": 42}' -o json | jq .result
  jobclaim key clear billing.charge invoice-42
"""
)
def command() -> None:
    """Look up and clear idempotency keys.

    A key is given as `jobclaim show` prints it, or by --values: the arguments by name that identify a call. The
    task's scope, defaults and types apply, as in a submission.
    """


def _key_of_a_task(function: click.decorators.FC) -> click.decorators.FC:
    for option in (
        click.option("--values", help="Arguments of the call by name, a JSON object; instead of a key."),
        click.argument("key", required=False),
        click.argument("task"),
    ):
        function = option(function)
    return function


@command.command(
    epilog="""\b
Examples:
  jobclaim key show billing.charge invoice-42
  jobclaim key show billing.charge --values '{"invoice": 42}'
"""
)
@_key_of_a_task
@output_option
@pass_session
def show(session: Session, task: str, key: str | None, values: str | None, output: Format | None) -> None:
    """Show the job that holds a key, its result, and whether duplicate submissions still return it."""
    from jobclaim.jobs.protocol import lifecycle
    from jobclaim.views.records import job_record

    job = _find(session, task, _scope(key, values))
    answers = lifecycle.answers_duplicate(job, session.now())
    record = {**job_record(job), "answers_duplicates": answers}
    Output(output).one(record, lambda: _drawn(session, job, answers))


@command.command(
    epilog="""\b
Examples:
  jobclaim key clear billing.charge invoice-42
"""
)
@_key_of_a_task
@output_option
@pass_session
def clear(session: Session, task: str, key: str | None, values: str | None, output: Format | None) -> None:
    """Clear a key, so that the next submission with it runs. A completed job gives up the key; a waiting one is
    cancelled.

    A running job is refused: cancel it first. A crashed job never holds its key forever, so this is for results that
    turned out to be wrong.
    """
    from jobclaim.fleet.acting import acting
    from jobclaim.jobs.idempotency import IdempotencyService

    scope = _scope(key, values)
    job = _find(session, task, scope)
    with acting(session.repo, "key clear", what=f"{task} {job.job_id}") as act:
        cleared = IdempotencyService(session.repo).clear_idempotency_key(_task(session, task), scope)
        act.done = int(cleared)
    Output(output).fact(
        {"job_id": job.job_id, "task": task, "cleared": cleared},
        f"Cleared: the next equal submission of {task!r} runs. Job {job.job_id} held the key."
        if cleared
        else f"Nothing to clear: job {job.job_id} is {job.status} and no longer holds the key.",
    )


def _scope(key: str | None, values: str | None) -> Any:
    if (key is None) == (values is None):
        raise click.UsageError("give either the key or --values, not both")
    if values is None:
        return key
    try:
        parsed = json.loads(values)
    except ValueError as error:
        raise click.BadParameter(
            f"{values!r} is not JSON ({error}); write it like '{{\"invoice\": 42}}'", param_hint="--values"
        ) from None
    if not isinstance(parsed, dict):
        raise click.BadParameter(f"{values!r} is not a JSON object; write '{{\"invoice\": 42}}'", param_hint="--values")
    return parsed


def _find(session: Session, task: str, scope: Any) -> Job:
    from jobclaim.jobs.idempotency import IdempotencyService

    job = IdempotencyService(session.repo).check_idempotency_key(_task(session, task), scope)
    if job is None:
        raise NotFound(f"no job of task {task!r} has this key; `jobclaim show JOB` prints the key of a job")
    return job


def _task(session: Session, name: str) -> Any:
    """Return the task, whose declaration defines its key, or its name if it is not registered here."""
    return session.app_with_tasks.tasks.get(name, name)


def _drawn(session: Session, job: Job, answers: bool) -> Drawn:
    from jobclaim.cli.job_view import show_job

    then = "Equal submissions get this job." if answers else "Equal submissions run again."
    return stacked(show_job(job, session), then)
