"""`jobclaim retry`: start failed jobs again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobclaim.cli.output import Format, Output, output_option
from jobclaim.cli.session import Session, pass_session

if TYPE_CHECKING:
    from jobclaim.jobs import Job


@click.command(
    epilog="""\b
Examples:
  jobclaim retry 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11
  jobclaim retry 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 --clear-steps
  jobclaim list --status FAILED -o ids | xargs jobclaim retry
"""
)
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@click.option(
    "--clear-steps", is_flag=True, help="Drop finished steps, checkpoint and waits, so that everything runs again."
)
@output_option
@pass_session
def command(session: Session, job_ids: tuple[str, ...], clear_steps: bool, output: Format | None) -> None:
    """Start FAILED jobs again, with their full number of attempts. Completed steps are not run again.

    Exits with 5 when only some jobs could be started.
    """
    from jobclaim.cli.bulk import for_each
    from jobclaim.fleet.acting import acting
    from jobclaim.workers.submission.dispatch import publish_if_due

    def again(job_id: str) -> Job:
        job = session.repo.retry_job(job_id, clear_steps=clear_steps)
        publish_if_due(session.app, job)
        return job

    with acting(session.repo, "retry", what=" ".join(job_ids), why="--clear-steps" if clear_steps else ""):
        for_each(job_ids, again, clock=session.repo.clock, out=Output(output))
