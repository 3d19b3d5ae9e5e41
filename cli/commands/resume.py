"""`jobclaim resume`: deliver the value that a job waits for."""

from __future__ import annotations

import json

import click

from jobclaim.cli.output import Format, Output, output_option
from jobclaim.cli.session import Session, pass_session


@click.command(
    epilog="""\b
Examples:
  jobclaim resume 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 approval
  jobclaim resume 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 approval --payload '{"by": "ann"}'
"""
)
@click.argument("job_id")
@click.argument("name")
@click.option("--payload", default="null", help="Payload for the body, as JSON; default: null.")
@output_option
@pass_session
def command(session: Session, job_id: str, name: str, payload: str, output: Format | None) -> None:
    """Deliver the value that a job waits for under NAME, and start the job again at once.

    A value that arrives before the body waits is kept for it. Only the first value for a name counts: sending the same
    value again succeeds, and a different one is refused.
    """
    from jobclaim.cli.job_columns import columns
    from jobclaim.cli.output import table
    from jobclaim.fleet.acting import acting
    from jobclaim.fleet.person import whoami
    from jobclaim.views.records import job_record
    from jobclaim.workers.submission.dispatch import publish_if_due

    try:
        value = json.loads(payload)
    except ValueError as error:
        raise click.BadParameter(
            f"{payload!r} is not JSON ({error}); quote text: '\"yes\"'", param_hint="--payload"
        ) from None
    repo = session.repo
    repo.sender = lambda job: publish_if_due(session.app, job)
    with acting(repo, "resume", what=job_id, why=name):
        job = repo.resume(job_id, name, value, by=whoami())
    record = job_record(job)
    Output(output).one(record, lambda: table([record], columns(session.now())))
