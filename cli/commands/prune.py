"""`jobclaim prune`: delete jobs past their retention in tables without a TTL."""

from __future__ import annotations

from dataclasses import asdict

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Format, Output, report_option
from jobclaim.cli.session import Session, pass_session


@click.command(
    epilog="""\b
Examples:
  jobclaim prune --dry-run
  jobclaim prune --limit 10000 --rate 50
"""
)
@click.option("--dry-run", is_flag=True, help="Count, and delete nothing.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Maximum number of deletes; default: all.")
@click.option(
    "--rate", type=click.FloatRange(min=0.1), default=100.0, show_default=True, help="Maximum deletes per second."
)
@report_option
@pass_session
def command(session: Session, dry_run: bool, limit: int | None, rate: float, output: Format | None) -> None:
    """Delete ended jobs that are past their retention, in tables without a TTL.

    DynamoDB deletes them by itself where TTL is on (`jobclaim up` turns it on). This command reads the whole table, so
    run it rarely. Open jobs are never touched. Exits with 5 when --limit left some of them.
    """
    from jobclaim.jobs.repo.pruning import prune

    pruned = prune(session.repo, limit=limit, dry_run=dry_run, per_second=rate)
    left = "" if pruned.complete else "; --limit left more"
    Output(output).fact(
        {**asdict(pruned), "dry_run": dry_run},
        f"{pruned.seen} past their retention, {pruned.deleted} deleted{left}.",
    )
    click.get_current_context().exit(ExitCode.OK if pruned.complete else ExitCode.PARTIAL)
