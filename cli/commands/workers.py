"""`jobclaim workers`: the fleet, its running jobs, versions and settings."""

from __future__ import annotations

from typing import Any

import click

from jobclaim.cli.output import Column, Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.watching import repeat, watch_option
from jobclaim.specs.agreement import REMEDY, compare
from jobclaim.views.humane import span


@click.command(
    epilog="""\b
Examples:
  jobclaim workers
  jobclaim workers --jobs --watch
  jobclaim workers -q reports -o jsonl | jq -r '.jobs[].job_id'
  jobclaim workers -o ids
"""
)
@click.option("-q", "--queue", help="Only workers that listen to this queue.")
@click.option(
    "--jobs", "with_jobs", is_flag=True, help="Also read the running jobs: their task and how long they have run."
)
@watch_option
@output_option
@pass_session
def command(session: Session, queue: str | None, with_jobs: bool, watch: int | None, output: Format | None) -> None:
    """Show the fleet: each worker's state, queues, running jobs and version.

    A worker without a heartbeat for JOBCLAIM_WORKER_DEAD_AFTER_SECONDS is lost; recovery handles its jobs. Warns when
    the settings of live workers differ from each other or from this command's.
    """
    if queue is not None:
        session.settings.queue(queue)
    out = Output(output, id_field="worker_id")
    repeat(watch, lambda: _show(session, queue, with_jobs, out), clear=out.format == "table")


def _show(session: Session, queue: str | None, with_jobs: bool, out: Output) -> None:
    from jobclaim.fleet.workers import FleetRecords
    from jobclaim.views.records import worker_record

    now = session.now()
    found = [record for record in FleetRecords.of(session.repo).all() if queue is None or queue in record.queues]
    known = session.repo.table.get_many([job for record in found for job in record.jobs]) if with_jobs else {}
    rows = [worker_record(record, now, session.settings.worker_dead_after_seconds, known) for record in found]
    out.many(rows, COLUMNS, empty="No workers have written a heartbeat; start one with `jobclaim worker run`.")
    if out.format == "table":
        _remarks([row for row in rows if row["state"] != "dead"], session.settings.digest)


def _remarks(living: list[dict[str, Any]], own: str) -> None:
    versions = sorted({row["version"] for row in living})
    if len(versions) > 1:
        remark(f"Several versions run at once: {', '.join(versions)}. That is normal only during a deployment.")
    settings = compare({row["worker_id"]: row["digest"] or "" for row in living}, own, caller="this command")
    if settings.differs:
        remark(f"Settings differ: {settings.text}. To correct it, {REMEDY}.")


def _jobs(row: Any) -> str:
    lines = [f"{job['job_id']} {job['task']} for {span(job['running_ms'])}" for job in row["jobs"] if "task" in job]
    return "\n".join([f"{len(row['jobs'])} of {row['concurrency']}", *lines])


COLUMNS = [
    Column("worker", lambda row: str(row["worker_id"])),
    Column("state", lambda row: str(row["state"]), lambda row: "bold red" if row["state"] == "dead" else "green"),
    Column("seen", lambda row: f"{span(row['silence_ms'])} ago", fold=False),
    Column("queues", lambda row: ", ".join(row["queues"])),
    Column("jobs", _jobs),
    Column("version", lambda row: str(row["version"]), fold=False, rank=1),
]
