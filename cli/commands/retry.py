"""`jobclaim retry`: start failed jobs again, as they were or with other arguments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobclaim.cli.output import Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session

if TYPE_CHECKING:
    from jobclaim.jobs import Job


@click.command(
    epilog="""\b
Examples:
  jobclaim retry 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11
  jobclaim retry 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 --clear-steps
  jobclaim retry 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 --edit --resolve
  jobclaim retry 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 --payload '{"args": [2], "kwargs": {}}'
  jobclaim list --status FAILED -o ids | xargs jobclaim retry
"""
)
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@click.option(
    "--clear-steps", is_flag=True, help="Drop finished steps, checkpoint and waits, so that everything runs again."
)
@click.option("--edit", is_flag=True, help="Edit the payload in $EDITOR, and run it as a new job.")
@click.option("--payload", metavar="JSON", help="Run this payload as a new job: JSON, @file, or - for standard input.")
@click.option("--resolve", is_flag=True, help="With --edit or --payload: mark the old dead letter as RESOLVED.")
@click.option("--key", help="With --edit or --payload: idempotency key of the new job.")
@click.option("--reason", default="", help="With --edit or --payload: why; stored in the audit trail.")
@output_option
@pass_session
def command(
    session: Session,
    job_ids: tuple[str, ...],
    clear_steps: bool,
    edit: bool,
    payload: str | None,
    resolve: bool,
    key: str | None,
    reason: str,
    output: Format | None,
) -> None:
    """Start FAILED jobs again, with their full number of attempts. Completed steps are not run again.

    With --edit or --payload, the ended job stays as it is, and a new job runs the same task with a different payload.
    The payload is checked against the task if its code can be imported, and `jobclaim show` links the two jobs. What
    followed the old job in a chain or chord does not follow the new one.

    Exits with 5 when only some jobs could be started.
    """
    if edit or payload is not None:
        if len(job_ids) != 1 or clear_steps or (edit and payload is not None):
            raise click.UsageError("use either --edit or --payload, for one job, and without --clear-steps")
        _with_payload(session, job_ids[0], payload, key, reason, Output(output), resolve=resolve)
        return
    if resolve or key or reason:
        raise click.UsageError("--resolve, --key and --reason can only be used with --edit or --payload")
    _retry_all(session, job_ids, Output(output), clear_steps=clear_steps)


def _retry_all(session: Session, job_ids: tuple[str, ...], out: Output, *, clear_steps: bool) -> None:
    from jobclaim.cli.bulk import for_each
    from jobclaim.fleet.acting import acting
    from jobclaim.workers.submission.dispatch import publish_if_due

    def retry_job(job_id: str) -> Job:
        job = session.repo.retry_job(job_id, clear_steps=clear_steps)
        publish_if_due(session.app, job)
        return job

    with acting(session.repo, "retry", what=" ".join(job_ids), why="--clear-steps" if clear_steps else ""):
        for_each(job_ids, retry_job, clock=session.repo.clock, out=out)


def _with_payload(
    session: Session, job_id: str, payload_text: str | None, key: str | None, reason: str, out: Output, *, resolve: bool
) -> None:
    """Submit the new job. If it is refused, an edited payload is opened in the editor again, so that the edit is not
    lost.
    """
    from jobclaim.jobs import InvalidInput

    text = _edited(session.repo.get_job(job_id)) if payload_text is None else _read(payload_text)
    while True:
        try:
            job = _submit(session, job_id, _parsed(text), key, reason, resolve=resolve)
            break
        except InvalidInput as error:
            if payload_text is not None:
                raise
            remark(f"error: {error}")
            click.confirm("Edit it again?", default=True, abort=True, err=True)
            text = click.edit(text, extension=".json") or text
    _print(session, job, out)


def _submit(session: Session, job_id: str, payload: Any, key: str | None, reason: str, *, resolve: bool) -> Job:
    from jobclaim.fleet.acting import acting
    from jobclaim.recovery.dead import resolve_edited
    from jobclaim.workers.submission.editing import retry_edited

    with acting(session.repo, "retry", what=f"{job_id} with another payload", why=reason):
        resubmitted = retry_edited(session.app_with_tasks, session.repo, job_id, payload, key=key)
        if resolve and resubmitted.job.created and (refused := resolve_edited(session.repo, job_id, resubmitted.job)):
            remark(f"Not resolved: {job_id}: {refused}")
    if not resubmitted.job.created:
        remark(f"Job {resubmitted.job.job_id} already exists for these arguments; nothing was submitted.")
    if not resubmitted.checked:
        remark(f"The code of task {resubmitted.job.task!r} is not importable here: its arguments were not checked.")
    return resubmitted.job


def _edited(old: Job) -> str:
    import json

    from jobclaim.jobs.encoding import codec

    before = json.dumps(json.loads(codec.encode(old.payload)), indent=2, ensure_ascii=False) + "\n"
    after = click.edit(before, extension=".json")
    if after is None:
        raise click.ClickException("the payload was not changed; nothing was submitted")
    return after


def _read(text: str) -> str:
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text()
    except OSError as error:
        raise click.BadParameter(f"{text[1:]!r} cannot be read: {error.strerror}", param_hint="--payload") from None


def _parsed(text: str) -> Any:
    from jobclaim.jobs import InvalidPayload
    from jobclaim.jobs.encoding import codec

    try:
        return codec.decode(text)
    except ValueError as error:
        raise InvalidPayload(f"the payload is not JSON: {error}") from None


def _print(session: Session, job: Job, out: Output) -> None:
    from jobclaim.cli.job_columns import columns
    from jobclaim.cli.output import table
    from jobclaim.views.records import job_record

    record = job_record(job)
    out.one(record, lambda: table([record], columns(session.now())))
