"""`jobclaim list`: jobs by state, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobclaim.cli.output import Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.times import Past
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
  jobclaim list -s FAILED --error 'connection reset' --since yesterday
  jobclaim list --tag customer:42 --argument '"invoice": 7'
  jobclaim list -s FAILED --id 'nightly@*'          runs of a schedule
  jobclaim list -s FAILED --worker w-1 --key 'invoice-*'
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
@click.option("--tag", "tags", multiple=True, help="Only jobs with this tag; may be repeated.")
@click.option("--argument", help="Only jobs with this text in their arguments, as JSON; case does not matter.")
@click.option("--error", help="Only jobs with this text in a failure's exception, message or place in the code.")
@click.option("--id", "id_pattern", help="Only jobs with this id; * matches anything.")
@click.option("--key", help="Only jobs with this idempotency key; * matches anything.")
@click.option("--worker", "worker_id", help="Only jobs that this worker claimed.")
@click.option("--since", type=Past(), help="Only jobs submitted since then: 10m, 2h ago, yesterday, 14:30; UTC.")
@click.option("--until", type=Past(), help="Only jobs submitted until then.")
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
    /,
    status: str | None,
    queue: str | None,
    since: int | None,
    until: int | None,
    id_pattern: str | None,
    limit: int,
    cursor: str | None,
    payload: bool,
    watch: int | None,
    output: Format | None,
    **criteria: Any,
) -> None:
    """List jobs by state: open ones by their due time, ended ones newest first.

    A filter reads at most 2,000 jobs of each state, never the whole table. The output says where it stopped, and
    --cursor continues there. Completed jobs are listed unless JOBCLAIM_INDEX_COMPLETED=false.
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
        job_filter = JobFilter.of(**criteria, job_id=id_pattern, submitted_after=since, submitted_before=until)
    except InvalidInput as error:
        raise click.BadParameter(str(error), param_hint="--kind") from None
    states, out = _states(status), Output(output)
    repeat(
        watch,
        lambda: _show(session, states, queue, job_filter, limit, cursor, payload, out),
        clear=out.format == "table",
    )


def _show(
    session: Session,
    states: tuple[str, ...],
    queue: str | None,
    job_filter: JobFilter,
    limit: int,
    cursor: str | None,
    payload: bool,
    out: Output,
) -> None:
    from jobclaim.cli.job_columns import columns
    from jobclaim.views.job_filter import filtered_page, looked_through
    from jobclaim.views.records import job_record

    repo, now = session.repo, session.now()
    pages = [
        filtered_page(repo, state, job_filter, now=now, queue=queue, limit=limit, cursor=cursor) for state in states
    ]
    cursors = {state: page.cursor for state, page in zip(states, pages, strict=True) if page.cursor}
    looked_at = {state: page.looked_at for state, page in zip(states, pages, strict=True)}
    unreadable = [job_id for page in pages for job_id in page.unreadable]
    out.many(
        [job_record(job, payload=payload) for page in pages for job in page.jobs],
        columns(now, payload=payload),
        empty=f"No job is {' or '.join(states)}{f' in queue {queue!r}' if queue else ''}{job_filter.words()}.",
        extra={"cursors": cursors, "looked_at": looked_at} | ({"unreadable": unreadable} if unreadable else {}),
    )
    if out.format != "json":
        for state, page in zip(states, pages, strict=True):
            looked = "" if job_filter.is_empty else f"{looked_through(page.looked_at, page.span, [state])}."
            more = f"More {state} jobs: --status {state} --cursor {page.cursor}" if page.cursor else ""
            if looked or more:
                remark(f"{looked} {more}".strip())
        for job_id in unreadable:
            remark(f"Unreadable, written by another version or by hand: {job_id}")


def _states(status: str | None) -> tuple[str, ...]:
    return (status.upper(),) if status else OPEN
