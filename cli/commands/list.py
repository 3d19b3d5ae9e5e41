"""`jobclaim list`: jobs by state, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from jobclaim.cli.output import Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.times import Duration
from jobclaim.cli.watching import repeat, watch_option

if TYPE_CHECKING:
    from jobclaim.views.job_filter import JobFilter

STATES: Final = ("PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED")
OPEN: Final = ("PROCESSING", "PENDING")


@click.command(
    epilog="""\b
Examples:
  jobclaim list                             what runs and what waits
  jobclaim list --status FAILED --limit 200
  jobclaim list -s failed -0 | xargs -0 jobclaim retry
  jobclaim list -s PENDING -q documents -o json | jq '.items[].job_id'
  jobclaim list -s FAILED --task 'billing.*' --kind TRANSIENT --since 2h
  jobclaim list --watch 5s
"""
)
@click.option(
    "-s",
    "--status",
    type=click.Choice(STATES, case_sensitive=False),
    help="State to list. Default: PROCESSING and PENDING.",
)
@click.option("-q", "--queue", help="Only jobs of this queue.")
@click.option("-t", "--task", help="Only jobs of this task; * matches anything.")
@click.option("-k", "--kind", help="Only jobs with this kind of failure: TRANSIENT, PERMANENT, TIMEOUT ...")
@click.option("--worker", "worker_id", help="Only jobs that this worker claimed last.")
@click.option("--since", type=Duration(), help="Only jobs submitted within this time: 90, 10m, 2h, 1d.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="Maximum number of jobs per state.",
)
@click.option("--cursor", help="Continue where the previous page ended; needs --status.")
@click.option("--payload", is_flag=True, help="Also show the arguments.")
@watch_option
@output_option
@pass_session
def command(
    session: Session,
    status: str | None,
    queue: str | None,
    task: str | None,
    kind: str | None,
    worker_id: str | None,
    since: int | None,
    limit: int,
    cursor: str | None,
    payload: bool,
    watch: int | None,
    output: Format | None,
) -> None:
    """List jobs by state: open ones by their due time, ended ones newest first.

    Reads a bounded number of index pages, never the whole table: a filter that matches few jobs returns a short list
    and a cursor. Completed jobs are listed only by tables with JOBCLAIM_INDEX_COMPLETED=true.
    """
    from jobclaim.jobs import InvalidInput
    from jobclaim.views.job_filter import JobFilter

    if cursor and not status:
        raise click.UsageError("--cursor continues the list of one state; name it with --status")
    if cursor and watch is not None:
        raise click.UsageError("--watch shows the first page; leave --cursor out")
    if queue is not None:
        session.settings.queue(queue)
    try:
        wanted = JobFilter.of(task=task, kind=kind, worker_id=worker_id, since_ms=since)
    except InvalidInput as error:
        raise click.BadParameter(str(error), param_hint="--kind") from None
    states, out = _states(status), Output(output)
    repeat(
        watch,
        lambda: _show(session, states, queue, wanted, limit, cursor, payload, out),
        clear=out.format == "table",
    )


def _show(
    session: Session,
    states: tuple[str, ...],
    queue: str | None,
    wanted: JobFilter,
    limit: int,
    cursor: str | None,
    payload: bool,
    out: Output,
) -> None:
    from jobclaim.cli.job_columns import columns
    from jobclaim.views.job_filter import filtered_page
    from jobclaim.views.records import job_record

    repo, now = session.repo, session.now()
    pages = [filtered_page(repo, state, wanted, now=now, queue=queue, limit=limit, cursor=cursor) for state in states]
    cursors = {state: page.cursor for state, page in zip(states, pages, strict=True) if page.cursor}
    unreadable = [job_id for page in pages for job_id in page.unreadable]
    out.many(
        [job_record(job, payload=payload) for page in pages for job in page.jobs],
        columns(now, payload=payload),
        empty=f"No job is {' or '.join(states)}{f' in queue {queue!r}' if queue else ''}{wanted.words()}.",
        extra={"cursors": cursors} | ({"unreadable": unreadable} if unreadable else {}),
    )
    if out.format != "json":
        for state, more in cursors.items():
            remark(f"More {state} jobs: --status {state} --cursor {more}")
        for job_id in unreadable:
            remark(f"Unreadable, written by another version or by hand: {job_id}")


def _states(status: str | None) -> tuple[str, ...]:
    return (status.upper(),) if status else OPEN
