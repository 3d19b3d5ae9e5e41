"""`jobclaim worker all`: start, stop, restart and check every worker group of the settings, recovery and beat."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from jobclaim.cli.errors import Refused
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Column, Format, Output, output_option
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.times import Duration

if TYPE_CHECKING:
    from jobclaim.cli.commands.worker.local import LocalWorker
    from jobclaim.settings import Settings

BEAT: Final = "beat"
BEAT_SILENCE: Final = 600.0
"""Seconds after which beat counts as stuck; it touches its file before each tick, every 300 s at least."""


@dataclass(frozen=True, slots=True)
class Member:
    """A process of this machine that belongs to the settings.

    Attributes
    ----------
    queues : tuple of str
        Queues of a worker; empty for beat.
    """

    worker: LocalWorker
    queues: tuple[str, ...]
    argv: tuple[str, ...]

    @property
    def max_silence(self) -> float:
        """Return the seconds after which it counts as stuck."""
        from jobclaim.cli.commands.worker.local import MAX_SILENCE

        return MAX_SILENCE if self.queues else BEAT_SILENCE


@click.group(
    "all",
    epilog="""\b
Examples:
  jobclaim worker all start
  jobclaim worker all status
  jobclaim worker all stop --within 5m
""",
)
def all_groups() -> None:
    """Start, stop, restart or check all workers of the settings on this machine, with recovery and beat.

    One worker for each entry of JOBCLAIM_WORKER_GROUPS, one called "recovery" for the recovery queue (unless
    JOBCLAIM_RECOVERY_BY_BEAT is false), and beat.
    """


@all_groups.command(
    epilog="""\b
Examples:
  jobclaim worker all start
"""
)
@output_option
@pass_session
def start(session: Session, output: Format | None) -> None:
    """Start what does not run yet, and wait until it is ready; beat comes last."""
    for member in members(session.settings):
        if member.worker.pid is None:
            _start(member)
    _show(session, output)


@all_groups.command(
    epilog="""\b
Examples:
  jobclaim worker all stop
  jobclaim worker all stop --within 5m
"""
)
@click.option(
    "--within", type=Duration(), help="Time for the workers and their jobs to end; default: the stop timeout."
)
@output_option
@pass_session
def stop(session: Session, within: int | None, output: Format | None) -> None:
    """Stop beat, then all workers at once, and wait until they have drained."""
    stopped = _stop_all(session.settings, within)
    rows = [{"worker": name, "state": "stopped"} for name in stopped]
    Output(output, id_field="worker").many(
        rows, COLUMNS[:2], empty="no worker or beat of the settings runs on this machine"
    )


@all_groups.command(
    epilog="""\b
Examples:
  jobclaim worker all restart
"""
)
@output_option
@pass_session
def restart(session: Session, output: Format | None) -> None:
    """Stop everything, and start it again as the settings say now."""
    _stop_all(session.settings, None)
    for member in members(session.settings):
        _start(member)
    _show(session, output)


@all_groups.command(
    epilog="""\b
Examples:
  jobclaim worker all status
"""
)
@output_option
@pass_session
def status(session: Session, output: Format | None) -> None:
    """Show each worker, recovery and beat of this machine. Exits with 4 unless all run and are healthy."""
    well = all(row["state"] == "running" for row in _show(session, output))
    click.get_current_context().exit(ExitCode.OK if well else ExitCode.CHECK_FAILED)


COLUMNS: Final = [
    Column("worker", lambda row: str(row["worker"])),
    Column("state", lambda row: str(row["state"]), lambda row: "green" if row["state"] == "running" else "bold red"),
    Column("pid", lambda row: str(row["pid"] or "-"), fold=False),
    Column("queues", lambda row: ", ".join(row["queues"]) or "-"),
    Column("why", lambda row: str(row["why"])),
]


def members(settings: Settings) -> Iterator[Member]:
    """Return the processes that the settings ask for, in the order in which they start.

    Raises
    ------
    Refused
        A group has the name of recovery or beat.
    """
    from jobclaim.cli.commands.worker.local import LocalWorker, run_argv

    groups = {name: (group.queues, group.concurrency) for name, group in settings.groups.items()}
    if taken := {settings.recovery_queue, BEAT} & set(groups):
        raise Refused(f"worker group {min(taken)!r} has the name of the recovery worker or of beat; rename it")
    if settings.recovery_by_beat:
        groups[settings.recovery_queue] = ((settings.recovery_queue,), None)
    for name, (queues, concurrency) in groups.items():
        worker = LocalWorker.of(settings, name)
        processes = concurrency or max(settings.queue(queue).concurrency for queue in queues)
        yield Member(worker, queues, tuple(run_argv(worker, queues, processes, ())))
    yield Member(beat := LocalWorker.of(settings, BEAT), (), _beat_argv(beat))


def _beat_argv(beat: LocalWorker) -> tuple[str, ...]:
    from jobclaim.cli.processes import celery

    return tuple(celery("beat", "--schedule", str(beat.file("schedule")), "--pidfile", str(beat.file("pid"))))


def _start(member: Member) -> None:
    from jobclaim.cli.commands.worker.local import environment

    member.worker.start(member.argv, environment(member.worker))


def _stop_all(settings: Settings, within: int | None) -> list[str]:
    """Stop beat first, which sends messages, then all workers side by side; return the names of those that ran."""
    from jobclaim.cli.commands.worker.local import stop_seconds

    *workers, beat = members(settings)
    seconds = stop_seconds(settings, within)
    by = None if within is None else time.time() + seconds
    stopped = [beat.worker.name] if beat.worker.stop(seconds) else []
    with ThreadPoolExecutor(max_workers=len(workers)) as pool:
        found = list(pool.map(lambda member: member.worker.stop(seconds, by=by), workers))
    return stopped + [member.worker.name for member, ran in zip(workers, found, strict=True) if ran]


def _show(session: Session, output: Format | None) -> list[dict[str, Any]]:
    """Print the state of the workers and of beat, and return the rows."""
    rows = [_row(member) for member in members(session.settings)]
    Output(output, id_field="worker").many(rows, COLUMNS, empty="")
    return rows


def _row(member: Member) -> dict[str, Any]:
    pid, health = member.worker.pid, member.worker.health(member.max_silence)
    state = "stopped" if pid is None else "running" if health.ok else "unhealthy"
    why = health.why if pid is not None else f"no process; its log would be {member.worker.file('log')}"
    return {"worker": member.worker.name, "state": state, "pid": pid, "queues": list(member.queues), "why": why}
