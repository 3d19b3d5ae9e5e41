"""`jobclaim schedule`: check the beat schedule, list it, show the next ticks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Column, Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session

if TYPE_CHECKING:
    from jobclaim.governance.schedule_rules import World
    from jobclaim.governance.schedules import Entry

CHECKS = (
    "duplicates",
    "hotspots",
    "idempotency",
    "orphaned-tasks",
    "expires",
    "queues",
    "never-firing",
    "daylight-saving",
)


@click.group(
    epilog="""\b
Examples:
  jobclaim schedule validate
  jobclaim schedule validate --static src/            source only: nothing is imported
  jobclaim schedule validate --static . --check-orphaned-tasks -v
  jobclaim schedule validate --app shop.celery:app --check-duplicates --check-hotspots
  jobclaim schedule list
  jobclaim schedule next -n 5
  jobclaim schedule run nightly --reason "the file came late"
"""
)
def command() -> None:
    """Check and show the beat schedule, or run a schedule now."""


def _app_option(function: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "-A",
        "--app",
        "app",
        metavar="MODULE:NAME",
        help="Celery app to import. Default: jobclaim's own, from the settings.",
    )(function)


def _check_options(function: click.decorators.FC) -> click.decorators.FC:
    for name in reversed(CHECKS):
        text = f"Run only this check{' (and the others named)' if name == CHECKS[0] else ''}."
        function = click.option(f"--check-{name}", f"check_{name.replace('-', '_')}", is_flag=True, help=text)(function)
    return function


@command.command(
    epilog="""\b
Examples:
  jobclaim schedule validate
  jobclaim schedule validate --check-idempotency --check-orphaned-tasks
  jobclaim schedule validate --static . --baseline .jobclaim-schedules.json
"""
)
@_app_option
@click.option("--static", "roots", multiple=True, type=click.Path(exists=True, path_type=Path), help="Read source.")
@click.option("--live", is_flag=True, help="Read from the fleet table which queues workers listen to.")
@click.option(
    "--hotspot",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Number of entries in one minute that is reported.",
)
@click.option("--baseline", type=click.Path(path_type=Path), help="File of known findings, which are not reported.")
@click.option("--write-baseline", is_flag=True, help="Write the current findings to --baseline.")
@click.option(
    "--known-task",
    "known",
    multiple=True,
    metavar="PATTERN",
    help="Pattern of tasks that are declared elsewhere, such as 'library.*'; may be repeated.",
)
@click.option("-v", "--verbose", is_flag=True, help="Also print what was checked.")
@_check_options
@output_option
@pass_session
def validate(
    session: Session,
    /,
    app: str | None,
    roots: tuple[Path, ...],
    live: bool,
    hotspot: int,
    baseline: Path | None,
    write_baseline: bool,
    known: tuple[str, ...],
    verbose: bool,
    output: Format | None,
    **flags: bool,
) -> None:
    """Find duplicates, hotspots, missing idempotency, orphaned tasks, expires, queues without a consumer, crontabs that
    never fire, and clock changes.

    Exits with 4 when there are findings, and with 1 when a requested check could not be made.
    """
    from jobclaim.cli.findings import conclude
    from jobclaim.governance.schedule_rules import validate as check

    chosen = [name for name in CHECKS if flags[f"check_{name.replace('-', '_')}"]]
    looked = _static(roots, chosen, hotspot, known) if roots else _of_app(session, app, live, hotspot, known)
    entries, world = looked.entries, looked.world
    if verbose:
        for entry in entries:
            remark(f"{entry.name}: {entry.task}, {times(entry)}, {len(list(entry.minutes_of_a_week()))} minutes a week")
        remark(f"checks: {', '.join(chosen or CHECKS)}")
    found = check(entries, world, chosen)
    code = conclude(
        found,
        Output(output, id_field="subject"),
        checked=looked.what,
        baseline=baseline,
        write=write_baseline,
    )
    click.get_current_context().exit(_judged(code, looked.incomplete, "orphaned-tasks" in chosen))


@command.command(
    "list",
    epilog="""\b
Examples:
  jobclaim schedule list
""",
)
@_app_option
@output_option
@pass_session
def list_(session: Session, app: str | None, output: Format | None) -> None:
    """Show every entry: task, schedule, queue, expiry, next tick, the job of its last tick, and whether it is paused.

    A last tick without a job was not submitted, or its job is past its retention; ticks of plain tasks make no jobs.
    Reads one job for each entry.
    """
    from jobclaim.jobs.storage.pauses import PauseKind
    from jobclaim.views.pauses import active_record

    entries, world = _known(session, app, live=False, hotspot=5)
    pauses, now = session.repo.pauses.current(), session.now()
    last = _last_ticks(session, entries)
    rows = [
        {
            **_record(entry, world, 1),
            "last": last.get(entry.name),
            "paused": active_record(pauses, PauseKind.SCHEDULE, entry.name, now),
        }
        for entry in entries
    ]
    Output(output, id_field="name").many(rows, LIST, empty="Nothing is scheduled.")


@command.command(
    "next",
    epilog="""\b
Examples:
  jobclaim schedule next -n 5
""",
)
@_app_option
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="Ticks in all; the next one of each entry is always shown.",
)
@output_option
@pass_session
def next_(session: Session, app: str | None, count: int, output: Format | None) -> None:
    """Show the next ticks in order of time: at least one of each entry, and the soonest others up to -n."""
    entries, world = _known(session, app, live=False, hotspot=5)
    first: list[dict[str, Any]] = []
    later: list[dict[str, Any]] = []
    for entry in entries:
        ticks = _record(entry, world, count)["next"] or ["never"]
        rows = [{"at": at, "name": entry.name, "task": entry.task} for at in ticks]
        first += rows[:1]
        later += rows[1:]
    later.sort(key=_at)
    rows = sorted([*first, *later[: max(0, count - len(first))]], key=_at)
    Output(output, id_field="name").many(rows, NEXT, empty="Nothing is scheduled.")


@command.command(
    "run",
    epilog="""\b
Examples:
  jobclaim schedule run nightly --reason "the file came late"
  jobclaim schedule run nightly -o json
""",
)
@click.argument("name")
@_app_option
@click.option("--reason", default="", help="Why; stored in the audit trail.")
@click.option("--by", default="", help="Who runs it; default: the user of this machine.")
@output_option
@pass_session
def run_(session: Session, name: str, app: str | None, reason: str, by: str, output: Format | None) -> None:
    """Run a schedule now, once: a tick of its own, which neither replaces nor delays a regular one.

    Its job has the schedule's task, arguments and options. A paused schedule can be run; a paused task or queue still
    holds the job.
    """
    from jobclaim.cli.findings import find_app
    from jobclaim.fleet.person import whoami
    from jobclaim.workers.schedule.by_hand import run_now

    job_id = run_now(find_app(app) if app else session.app_with_tasks, name, by=by or whoami(), reason=reason)
    Output(output).fact({"schedule": name, "job_id": job_id}, f"{name} runs as job {job_id}")


def _last_ticks(session: Session, entries: list[Entry]) -> dict[str, dict[str, Any]]:
    """Return the last tick of each entry that had one, with the status of its job."""
    from jobclaim.governance.schedules import last_fires
    from jobclaim.jobs.protocol.lifecycle import is_gone
    from jobclaim.workers.schedule.beat import tick_id

    now = session.now()
    moment = datetime.fromtimestamp(now / 1000, UTC)
    due = {entry.name: at for entry in entries for at in last_fires(entry, moment, 1)}
    jobs = session.repo.table.get_many([tick_id(name, at) for name, at in due.items()])
    ticks = {}
    for name, at in due.items():
        job = jobs.get(job_id := tick_id(name, at))
        known = job is not None and not is_gone(job, now)
        ticks[name] = {"at": _utc(at), "job_id": job_id, "status": str(job.status) if job and known else None}
    return ticks


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _last_in_words(row: Mapping[str, Any]) -> str:
    last = row["last"]
    return f"{last['at']} {last['status'] or 'no job'}" if last else "-"


def _at(row: Mapping[str, Any]) -> str:
    return str(row["at"])


def times(entry: Entry) -> str:
    """Describe when an entry fires, in the notation of crontab(5)."""
    from jobclaim.specs.cron import Cron

    if not isinstance(entry.when, Cron):
        return f"every {entry.when:g} s" if entry.when else "not understood"
    cron = entry.when
    sets = (
        (cron.minutes, range(60)),
        (cron.hours, range(24)),
        (cron.days, range(1, 32)),
        (cron.months, range(1, 13)),
        (cron.weekdays, range(7)),
    )
    fields = ("*" if len(given) == len(full) else ",".join(map(str, sorted(given))) for given, full in sets)
    return " ".join([*fields, *([f"({entry.zone})"] if entry.zone and str(entry.zone) != "UTC" else [])])


def _record(entry: Entry, world: World, count: int) -> dict[str, Any]:
    from jobclaim.governance.schedules import next_fires

    coming = next_fires(entry, datetime.now(world.zone), count)
    return {
        "name": entry.name,
        "task": entry.task,
        "when": times(entry),
        "queue": entry.queue or world.queue_of.get(entry.task) or world.default_queue,
        "expires_seconds": entry.expires,
        "next": [_utc(at) for at in coming],
        "place": f"{entry.file}:{entry.line}" if entry.file else "",
    }


def _known(session: Session, app: str | None, live: bool, hotspot: int) -> tuple[list[Entry], World]:
    from jobclaim.cli.findings import find_app
    from jobclaim.governance.inspection import world_of
    from jobclaim.governance.schedules import entries_of
    from jobclaim.governance.source import read

    known = find_app(app) if app else session.app_with_tasks
    places = read([Path.cwd()]).texts if known.conf.beat_schedule and (Path.cwd() / "pyproject.toml").exists() else {}
    return entries_of(known, places), world_of(known, live_queues=_live(session) if live else None, hotspot=hotspot)


def _live(session: Session) -> frozenset[str]:
    from jobclaim.fleet.workers import FleetRecords

    live = FleetRecords.of(session.repo).live(session.settings.worker_dead_after_seconds)
    return frozenset(queue for record in live for queue in record.queues)


@dataclass(frozen=True)
class Checkable:
    """What is checked, and which parts of it could not be read."""

    entries: list[Entry]
    world: World
    what: str
    incomplete: tuple[str, ...] = ()


def _of_app(session: Session, app: str | None, live: bool, hotspot: int, known: tuple[str, ...]) -> Checkable:
    entries, world = _known(session, app, live, hotspot)
    return Checkable(entries, replace(world, known=known), f"{len(entries)} schedule entries")


def _static(roots: tuple[Path, ...], chosen: list[str], hotspot: int, known: tuple[str, ...]) -> Checkable:
    from jobclaim.governance.project_files import schedules_of_project
    from jobclaim.governance.source import read
    from jobclaim.governance.static_schedules import static_entries
    from jobclaim.governance.static_world import static_world

    source = read(roots)
    entries, unread = static_entries(source)
    entries += schedules_of_project(roots)
    world = static_world(source, hotspot=hotspot, entries=entries, known=known)
    if "queues" in chosen and world.queues is None:
        raise click.UsageError(
            "--check-queues found no queue names written out in the source; leave --static out "
            "and name the app by --app MODULE:NAME"
        )
    return Checkable(
        entries,
        world,
        f"{len(entries)} schedule entries and {len(source.tasks)} tasks of {source.files} files",
        (
            *(f"{place}: the schedule is computed at run time" for place in unread),
            *(
                f"{one.file}:{one.line}: the task of {one.name!r} is computed at run time"
                for one in entries
                if not one.task_known
            ),
            *(f"{file}: not Python that this version reads" for file in source.unread),
        ),
    )


def _judged(code: ExitCode, incomplete: tuple[str, ...], asked: bool) -> ExitCode:
    """Report what could not be checked; a requested check that could not be completed does not pass."""
    if not incomplete:
        return code
    remark("Not checked for orphaned tasks, because only the running app knows them (--app MODULE:NAME):")
    for place in incomplete:
        remark(f"  {place}")
    return ExitCode.ERROR if asked and code is ExitCode.OK else code


LIST = [
    Column("name", lambda row: str(row["name"]) + (" (paused)" if row["paused"] else "")),
    Column("task", lambda row: str(row["task"])),
    Column("when", lambda row: str(row["when"])),
    Column("queue", lambda row: str(row["queue"]), fold=False, rank=2),
    Column(
        "expires", lambda row: f"{row['expires_seconds']:g} s" if row["expires_seconds"] else "-", fold=False, rank=3
    ),
    Column("last tick", _last_in_words, rank=1),
    Column("next", lambda row: (row["next"] or ["never"])[0], fold=False),
]
NEXT = [
    Column("at", lambda row: str(row["at"]), fold=False),
    Column("name", lambda row: str(row["name"])),
    Column("task", lambda row: str(row["task"])),
]
