"""`jobclaim cancel`: take back jobs that no worker has claimed."""

from __future__ import annotations

import click

from cli.output import Format, Output, output_option
from cli.session import Session, pass_session


@click.command(
    epilog="""\b
Examples:
  jobclaim cancel 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 --reason "sent by mistake"
  jobclaim list --status PENDING -q reports -o ids | xargs jobclaim cancel
"""
)
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@click.option("--reason", default="cancelled by a person", show_default=True, help="Kept with the job.")
@output_option
@pass_session
def command(session: Session, job_ids: tuple[str, ...], reason: str, output: Format | None) -> None:
    """Cancel PENDING jobs: a message of theirs that arrives later is refused.

    Exits with 5 when only some could be cancelled.
    """
    from cli.bulk import for_each

    repo = session.repo
    for_each(job_ids, lambda job_id: repo.cancel_job(job_id, reason=reason), clock=repo.clock, out=Output(output))
