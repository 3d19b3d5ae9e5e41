"""`jobclaim worker`: run, start, stop, restart, monitor and check workers."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from jobclaim.cli.commands.worker.interruption import CommandAfterDashes, watch_interruption
from jobclaim.cli.commands.worker.machine import all_groups
from jobclaim.cli.errors import NotFound, Refused
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Column, Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.times import Duration
from jobclaim.cli.watching import repeat, watch_option
from jobclaim.specs import pools
from jobclaim.views.humane import relative, span
from jobclaim.views.records import worker_record

if TYPE_CHECKING:
    from jobclaim.cli.commands.worker.local import LocalWorker
    from jobclaim.fleet.workers import WorkerRecord
    from jobclaim.settings import Settings

"""Time allowed beyond the stop timeout, in which children end, messages are deleted and the record is removed."""


@click.group(
    epilog="""\b
Examples:
  jobclaim worker run -q emails -q default -c 8     in the foreground: containers, systemd
  jobclaim worker start mail -q emails              in the background of this machine
  jobclaim worker restart mail
  jobclaim worker monitor --watch 5s
  jobclaim worker health                            exits with 4 when the event loop is stuck
"""
)
def command() -> None:
    """Run, start, stop, restart, monitor and check workers.

    run, start, stop, restart, health and watch-interruption act on this machine, and identify a worker by its name
    (JOBCLAIM_WORKER_NAME, default "worker"). monitor, and stop with --id, act on the whole fleet.
    """


command.add_command(watch_interruption)
command.add_command(all_groups)


def _options(function: click.decorators.FC) -> click.decorators.FC:
    for option in (
        click.argument("further", nargs=-1, type=click.UNPROCESSED, metavar="[-- CELERY OPTIONS]"),
        click.option(
            "-c",
            "--concurrency",
            type=click.IntRange(min=1),
            help="Number of processes; default: the largest of its queues.",
        ),
        click.option(
            "-q", "--queue", "queues", multiple=True, help="Queue to listen to; may be repeated. Default: all."
        ),
    ):
        function = option(function)
    return function


@command.command(
    epilog="""\b
Examples:
  jobclaim worker run -q emails -q default -c 8
"""
)
@click.option("--name", help="Name of the worker; default: JOBCLAIM_WORKER_NAME.")
@_options
@pass_session
def run(
    session: Session, name: str | None, queues: tuple[str, ...], concurrency: int | None, further: tuple[str, ...]
) -> None:
    """Run a worker in the foreground. SIGTERM stops it: it finishes the jobs that it has time for, and
    releases the rest.
    """
    from jobclaim.cli.commands.worker import foreground
    from jobclaim.cli.commands.worker.local import LocalWorker, celery_argv, environment
    from jobclaim.specs import run_folder

    if name:
        os.environ["JOBCLAIM_WORKER_NAME"] = name  # before the app reads its settings
    worker = LocalWorker.of(session.settings)
    run_folder.claim(worker.folder)
    argv = celery_argv(worker, *_chosen(session.settings, queues, concurrency, further))
    os.environ.update(environment(worker))
    foreground.run(session.app, argv)


@command.command(
    cls=CommandAfterDashes,
    epilog="""\b
Examples:
  jobclaim worker start mail -q emails
""",
)
@click.argument("name")
@_options
@output_option
@pass_session
def start(
    session: Session,
    name: str,
    queues: tuple[str, ...],
    concurrency: int | None,
    further: tuple[str, ...],
    output: Format | None,
) -> None:
    """Start a worker in the background, and wait until it is ready."""
    from jobclaim.cli.commands.worker.local import LocalWorker, run_argv

    worker = LocalWorker.of(session.settings, name)
    _start(worker, run_argv(worker, *_chosen(session.settings, queues, concurrency, further)), _out(output))


@command.command(
    epilog="""\b
Examples:
  jobclaim worker stop mail
  jobclaim worker stop mail --within 30m
  jobclaim worker stop --id web-1:4711:ab12cd34
"""
)
@click.argument("name", required=False)
@click.option("--id", "worker_id", help="Stop any worker of the fleet, by the id that `monitor` shows.")
@click.option("--within", type=Duration(), help="Time for the worker and its jobs to end; default: the stop timeout.")
@output_option
@pass_session
def stop(session: Session, name: str | None, worker_id: str | None, within: int | None, output: Format | None) -> None:
    """Stop a worker on this machine and wait until it has ended, or ask any worker of the fleet to stop (--id).

    Running jobs may continue until shortly before the time is up; jobs that still run then are released or fail.
    """
    if worker_id is not None:
        if within is not None:
            raise click.UsageError("--within is for a worker on this machine; with --id, leave it out")
        _ask_to_stop(session, worker_id, _out(output))
        return
    from jobclaim.cli.commands.worker.local import LocalWorker

    worker = LocalWorker.of(session.settings, name)
    if not _stop(session.settings, worker, within):
        raise NotFound(f"worker {worker.name!r} does not run on this machine; its files would be in {worker.folder}")
    _out(output).fact({"worker": worker.name, "state": "stopped"}, f"worker {worker.name!r} has stopped")


@command.command(
    epilog="""\b
Examples:
  jobclaim worker restart mail
"""
)
@click.argument("name", required=False)
@output_option
@pass_session
def restart(session: Session, name: str | None, output: Format | None) -> None:
    """Stop a worker on this machine, and start it again with the same command line."""
    from jobclaim.cli.commands.worker.local import LocalWorker

    worker = LocalWorker.of(session.settings, name)
    argv = worker.last_argv()
    _stop(session.settings, worker)
    _start(worker, argv, _out(output))


@command.command(
    epilog="""\b
Examples:
  jobclaim worker health
"""
)
@click.argument("name", required=False)
@click.option(
    "--max-silence",
    type=Duration(),
    default="30s",
    show_default=True,
    help="Longest time since the event loop's last sign of life.",
)
@output_option
@pass_session
def health(session: Session, name: str | None, max_silence: int, output: Format | None) -> None:
    """Check the health of a worker on this machine, for containers and monitors.

    Reads the file that the worker's event loop touches, and calls neither AWS nor the worker. Exits with 4 when the
    worker is stuck or not running.
    """
    from jobclaim.cli.commands.worker.local import LocalWorker

    worker, out = LocalWorker.of(session.settings, name), _out(output)
    found = worker.health(max_silence / 1000)
    if found.ok or out.format != "table":
        out.fact({"worker": worker.name, "ok": found.ok, "why": found.why}, found.why)
    if not found.ok:
        remark(found.why)
    click.get_current_context().exit(ExitCode.OK if found.ok else ExitCode.CHECK_FAILED)


@command.command(
    epilog="""\b
Examples:
  jobclaim worker monitor
  jobclaim worker monitor --watch 5s
"""
)
@watch_option
@output_option
@pass_session
def monitor(session: Session, watch: int | None, output: Format | None) -> None:
    """Show the fleet: every worker, when it was last seen, and what it runs."""
    from jobclaim.fleet.workers import FleetRecords

    fleet, out = FleetRecords.of(session.repo), Output(output, id_field="worker_id")

    def show() -> None:
        now = session.now()
        rows = [_row(record, now, session.settings.worker_dead_after_seconds) for record in fleet.all()]
        out.many(rows, COLUMNS, empty="no workers have a record in the fleet table")

    repeat(watch, show, clear=out.format == "table")


COLUMNS = [
    Column("worker", lambda row: str(row["worker_id"])),
    Column("state", lambda row: str(row["state"]), lambda row: "bold red" if row["state"] == "dead" else "green"),
    Column("seen", lambda row: f"{span(row['silence_ms'])} ago", fold=False),
    Column("queues", lambda row: ", ".join(row["queues"])),
    Column("jobs", lambda row: f"{len(row['jobs'])} of {row['concurrency']}", fold=False, rank=1),
    Column("started", lambda row: str(row["started"]), fold=False, rank=3),
    Column("version", lambda row: str(row["version"]), fold=False, rank=2),
]


def _row(record: WorkerRecord, now: int, dead_after_seconds: int) -> dict[str, object]:
    return {
        **worker_record(record, now, dead_after_seconds),
        "started": relative(record.started_at, now),
        "jobs": list(record.jobs),
    }


def _chosen(
    settings: Settings, queues: tuple[str, ...], concurrency: int | None, further: tuple[str, ...]
) -> tuple[list[str], int, tuple[str, ...]]:
    """Return the queues, the number of processes and Celery's options of a worker, with the defaults filled in."""
    if problem := pools.refusal(pools.asked_for(further) or "prefork"):
        raise Refused(problem)
    chosen = [settings.queue(name) for name in queues or settings.queue_names]
    return [queue.name for queue in chosen], concurrency or max(queue.concurrency for queue in chosen), further


def _out(output: Format | None) -> Output:
    return Output(output, id_field="worker")


def _start(worker: LocalWorker, argv: list[str], out: Output) -> None:
    from jobclaim.cli.commands.worker.local import environment

    pid = worker.start(argv, environment(worker))
    log = str(worker.file("log"))
    out.fact(
        {"worker": worker.name, "pid": pid, "log": log}, f"worker {worker.name!r} runs as process {pid}, log: {log}"
    )


def _stop(settings: Settings, worker: LocalWorker, within: int | None = None) -> bool:
    from jobclaim.cli.commands.worker.local import stop_seconds

    seconds = stop_seconds(settings, within)
    return worker.stop(seconds, by=None if within is None else time.time() + seconds)


def _ask_to_stop(session: Session, worker_id: str, out: Output) -> None:
    from jobclaim.fleet.workers import FleetRecords

    if FleetRecords.of(session.repo).ask_to_drain(worker_id) is None:
        raise NotFound(f"no worker has the id {worker_id!r}; see `jobclaim worker monitor`")
    seconds = session.settings.heartbeat_seconds
    out.fact(
        {"worker": worker_id, "state": "stopping"},
        f"requested: worker {worker_id!r} stops after its next heartbeat, within {seconds} s",
    )
