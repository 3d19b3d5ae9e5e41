"""`jobclaim bench`: measure the latency and cost of a job on this deployment."""

from __future__ import annotations

from typing import Any

import click

from jobclaim.cli.drawing import Drawn, grid
from jobclaim.cli.output import Format, Output, remark, report_option
from jobclaim.cli.session import Session, pass_session


@click.command(
    epilog="""\b
Examples:
  jobclaim bench --yes
  jobclaim bench --jobs 1000 --threads 16 --yes -o table
  jobclaim bench --yes -o json | jq .dollars_per_million
"""
)
@click.option("-n", "--jobs", type=click.IntRange(2, 100_000), default=100, show_default=True, help="Number of jobs.")
@click.option(
    "--threads", type=click.IntRange(1, 64), default=4, show_default=True, help="Number of concurrent requests."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@report_option
@pass_session
def command(session: Session, jobs: int, threads: int, yes: bool, output: Format | None) -> None:
    """Run empty jobs through the job table and a temporary queue, and report their latency and cost.

    This machine submits, claims and ends the jobs as tasks and workers would, then deletes them and the queue: no
    worker sees them, and nothing else is touched. Units are those that DynamoDB reports; dollars are list prices of
    us-east-1 (100 jobs cost less than a tenth of a cent). Needs permission to create and delete a queue.
    """
    from jobclaim.cli.commands.bench.measuring import measure

    settings = session.settings
    where = settings.endpoint("dynamodb") or f"AWS in {settings.region}"
    if not yes:
        what = f"Write, end and delete {jobs} jobs in table {settings.job_table!r} on {where}?"
        click.confirm(what, abort=True, err=True)
    measured = measure(settings, jobs, threads, progress=remark)
    Output(output).one(measured.record(), lambda: _drawn(measured.record()))


def _drawn(record: dict[str, Any]) -> Drawn:
    rows = [("jobs", f"{record['jobs']} with {record['threads']} threads, {record['jobs_per_second']:g} a second")]
    for name in ("submit", "claim", "end"):
        spread = record[f"{name}_ms"]
        rows.append((name, f"{spread['p50']:g} ms, 95 of 100 within {spread['p95']:g} ms"))
    overhead, body = record["overhead_percent"], record["body_ms"]
    each = ", ".join(f"{name} {count:g}" for name, count in record["requests"].items())
    rows += [
        ("overhead", f"{overhead['p50']:g} % of a task of {body} ms, 95 of 100 within {overhead['p95']:g} %"),
        ("requests", f"{record['requests_per_job']:g} a job ({each})"),
        ("units", f"{record['write_units_per_job']:g} written, {record['read_units_per_job']:g} read a job"),
        ("a million jobs", f"${record['dollars_per_million']:.2f}"),
    ]
    return grid(rows, whole={0})
