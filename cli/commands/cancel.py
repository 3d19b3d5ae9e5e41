"""`jobclaim cancel`: cancel jobs, waiting or running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobclaim.cli.output import Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session

if TYPE_CHECKING:
    from jobclaim.jobs import Job


@click.command(
    epilog="""\b
Examples:
  jobclaim cancel 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 --reason "sent by mistake"
  jobclaim list --status PENDING -q reports -o ids | xargs jobclaim cancel
"""
)
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@click.option("--reason", default="cancelled by a person", show_default=True, help="Stored with a waiting job.")
@output_option
@pass_session
def command(session: Session, job_ids: tuple[str, ...], reason: str, output: Format | None) -> None:
    """Cancel jobs. The result of each is "cancelled" or "requested".

    A waiting job is cancelled at once: a message for it that arrives later is refused. For a running job, its worker
    reads the request with its next heartbeat, notifies the task, and stops it after a grace period
    (JOBCLAIM_CANCEL_GRACE_SECONDS). If the worker is lost first, recovery ends the job as cancelled.

    Exits with 5 when only some jobs could be cancelled.
    """
    from jobclaim.cli.bulk import for_each
    from jobclaim.fleet.acting import acting
    from jobclaim.workers.cancel import cancel

    repo = session.repo

    def act(job_id: str) -> Job:
        remark(f"{job_id}: {cancel(repo, job_id, reason=reason)}")
        return repo.get_job(job_id)

    with acting(repo, "cancel", what=" ".join(job_ids), why=reason):
        for_each(job_ids, act, clock=repo.clock, out=Output(output))
