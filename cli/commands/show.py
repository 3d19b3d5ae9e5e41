"""`jobclaim show`: everything that is recorded about one job."""

from __future__ import annotations

import click

from jobclaim.cli.output import Format, Output, output_option
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.watching import repeat, watch_option


@click.command(
    epilog="""\b
Examples:
  jobclaim show 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11
  jobclaim show 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 --payload
  jobclaim show 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 --watch
  jobclaim show 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 -o json | jq .failure
"""
)
@click.argument("job_id")
@click.option("--payload", is_flag=True, help="Also show the arguments.")
@watch_option
@output_option
@pass_session
def command(session: Session, job_id: str, payload: bool, watch: int | None, output: Format | None) -> None:
    """Show one job: its state, its progress, what it waits for, and every attempt: who claimed it, until when, how it
    ended. If a pause holds the job, also who paused it, until when and why.
    """
    from jobclaim.cli.job_view import show_job
    from jobclaim.jobs.storage.edits import Edits
    from jobclaim.views.pauses import holding_record
    from jobclaim.views.records import edits_record, job_record

    out = Output(output)

    def show() -> None:
        job = session.repo.get_job(job_id)
        held = holding_record(job, session.repo.pauses.current(), session.now())
        edited = Edits.of(session.repo).around(job_id)
        record = {**job_record(job, payload=payload), **edits_record(edited), "paused": held}
        out.one(record, lambda: show_job(job, session, payload=payload, edited=edited))

    repeat(watch, show, clear=out.format == "table")
