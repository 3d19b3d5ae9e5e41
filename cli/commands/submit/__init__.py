"""`jobclaim submit`: submit a job from the command line."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.times import Duration, Moment

if TYPE_CHECKING:
    AnyValue = click.ParamType[Any]
    from jobclaim.jobs import Job
else:
    AnyValue = click.ParamType  # `ParamType` is not generic in older releases of click


class JsonValue(AnyValue):
    """Parameter type: a JSON value of one given type."""

    name = "json"

    def __init__(self, kind: type, example: str) -> None:
        self.kind, self.example = kind, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text; refuse an invalid one and show an example."""
        if isinstance(value, self.kind):
            return value
        try:
            parsed = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is not JSON ({error}); write {self.example}", param, ctx)
        if not isinstance(parsed, self.kind):
            self.fail(f"{value!r} is the wrong kind of JSON; write {self.example}", param, ctx)
        return parsed


@click.command(
    epilog="""\b
Examples:
  jobclaim submit documents.process --args '["tasks.py"]' --wait
  jobclaim submit shop.tasks.invoice --args '[42]' --in 10m
  jobclaim submit billing.charge --args '[42]' --key invoice-42 --ttl 4h
  jobclaim submit billing.charge --args '[42]' --tag customer:42 --tag import
"""
)
@click.argument("task")
@click.option("--args", "args", type=JsonValue(list, "'[\"a\", 1]'"), default="[]", help="Arguments, a JSON array.")
@click.option(
    "--kwargs", "kwargs", type=JsonValue(dict, "'{\"a\": 1}'"), default="{}", help="Keyword arguments, a JSON object."
)
@click.option("-q", "--queue", help="Queue of the job; default: the task's own, otherwise its route.")
@click.option("--key", help="Idempotency key: equal keys of one task are one job.")
@click.option("--ttl", type=Duration(), help="How long a completed job keeps its key; default: from the settings.")
@click.option("--at", "at", type=Moment(), help="Earliest start, ISO 8601 with a zone.")
@click.option("--in", "delay", type=Duration(), help="Delay until the earliest start: 90, 10s, 5m, 2h, 1d.")
@click.option("--tag", "tags", multiple=True, help="Tag to find the job by, such as customer:42; may be repeated.")
@click.option("--plain", is_flag=True, help="Declare that TASK claims its job itself, if its code does not show it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation of --plain.")
@click.option("--wait", is_flag=True, help="Follow the job to its end.")
@click.option("--timeout", type=Duration(), default="10m", show_default=True, help="Longest time that --wait waits.")
@output_option
@pass_session
def command(
    session: Session,
    task: str,
    args: list[Any],
    kwargs: dict[str, Any],
    queue: str | None,
    key: str | None,
    ttl: int | None,
    at: int | None,
    delay: int | None,
    tags: tuple[str, ...],
    plain: bool,
    yes: bool,
    wait: bool,
    timeout: int,
    output: Format | None,
) -> None:
    """Write a job for TASK, send its message, and print the job.

    With --wait the exit code is 0 only for COMPLETED, 1 for FAILED or CANCELLED, and 5 when --timeout has passed
    and the job has not ended. Ctrl-C stops waiting and exits with 130; the job continues.
    """
    from jobclaim.fleet.acting import acted
    from jobclaim.workers.submission.by_name import submit

    if at is not None and delay is not None:
        raise click.UsageError("--at and --in exclude each other; pass one of them")
    when = session.now() + delay if delay is not None else at
    app, is_sure = session.app_with_tasks, partial(_is_sure, yes) if plain else None
    job = submit(
        app,
        session.repo,
        task,
        args,
        kwargs,
        queue=queue,
        key=key,
        ttl_ms=ttl,
        at=when,
        tags=tags,
        is_sure=is_sure,
        written=lambda job: acted(session.repo, "submit", what=f"{task} {job.job_id}"),
    )
    if not job.created:
        remark(f"Job {job.job_id} already exists under this key; nothing was submitted.")
    code = ExitCode.OK
    if wait:
        job, code = _follow(session, job, timeout)
    _print(session, job, Output(output), detailed=wait)
    click.get_current_context().exit(code)


def _is_sure(yes: bool, called: str) -> bool:
    """Ask for confirmation, unless ``--yes`` was given."""
    return yes or click.confirm(
        f"The worker will call {called}; if the body does not claim that job, recovery sends it again. Continue?",
        err=True,
    )


def _follow(session: Session, job: Job, timeout_ms: int) -> tuple[Job, ExitCode]:
    from jobclaim.cli.commands.submit.following import follow

    try:
        job = follow(session.repo, job, timeout_ms=timeout_ms)
    except KeyboardInterrupt:
        remark(f"\nInterrupted: job {job.job_id} continues. `jobclaim show {job.job_id} --watch` shows its progress.")
        return job, ExitCode.INTERRUPTED
    if job.status.is_open:
        remark(f"Still {job.status}; `jobclaim show {job.job_id}` shows its progress.")
        return job, ExitCode.PARTIAL
    return job, ExitCode.OK if job.status == "COMPLETED" else ExitCode.ERROR


def _print(session: Session, job: Job, out: Output, *, detailed: bool) -> None:
    from jobclaim.cli.job_columns import columns
    from jobclaim.cli.job_view import show_job
    from jobclaim.cli.output import table
    from jobclaim.views.records import job_record

    record = job_record(job)
    if detailed:
        out.one(record, lambda: show_job(job, session))
    else:
        out.one(record, lambda: table([record], columns(session.now())))
