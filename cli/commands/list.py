"""`jobclaim list`: jobs by state, a page at a time."""

from __future__ import annotations

from typing import Final

import click

from cli.output import Format, Output, output_option, remark
from cli.session import Session, pass_session

STATES: Final = ("PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED")
OPEN: Final = ("PROCESSING", "PENDING")


@click.command(
    epilog="""\b
Examples:
  jobclaim list                             what runs and what waits
  jobclaim list --status FAILED --limit 200
  jobclaim list -s failed -o ids | xargs jobclaim retry
  jobclaim list -s PENDING -q documents -o json | jq '.items[].job_id'
"""
)
@click.option(
    "-s",
    "--status",
    type=click.Choice(STATES, case_sensitive=False),
    help="State to list. Default: PROCESSING and PENDING.",
)
@click.option("-q", "--queue", help="Only jobs of this queue.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Jobs of each state.")
@click.option("--cursor", help="Continue where the previous page ended; needs --status.")
@click.option("--payload", is_flag=True, help="Show the arguments too.")
@output_option
@pass_session
def command(
    session: Session,
    status: str | None,
    queue: str | None,
    limit: int,
    cursor: str | None,
    payload: bool,
    output: Format | None,
) -> None:
    """List jobs by state: open ones by their due time, ended ones newest first.

    Reads a bounded number of index pages, never the whole table. Completed jobs are listed only by tables with
    JOBCLAIM_INDEX_COMPLETED=true.
    """
    from cli.records import columns, job_record

    if cursor and not status:
        raise click.UsageError("--cursor continues the list of one state: name it with --status")
    if queue is not None:
        session.settings.queue(queue)
    pages = [session.repo.list_jobs(state, queue=queue, limit=limit, cursor=cursor) for state in _states(status)]
    records = [job_record(job, payload=payload) for page in pages for job in page.jobs]
    cursors = {state: page.cursor for state, page in zip(_states(status), pages, strict=True) if page.cursor}
    out = Output(output)
    out.many(
        records,
        columns(session.now(), payload=payload),
        empty=f"No job is {' or '.join(_states(status))}{f' in queue {queue!r}' if queue else ''}.",
        extra={"cursors": cursors},
    )
    if out.format != "json":
        for state, more in cursors.items():
            remark(f"More {state} jobs: --status {state} --cursor {more}")


def _states(status: str | None) -> tuple[str, ...]:
    return (status.upper(),) if status else OPEN
