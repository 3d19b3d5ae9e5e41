"""`jobclaim schedule`: check the beat schedule, list it, show the next ticks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from jobclaim.cli.commands.schedule.checked import entries_of_app, of_app, of_source
from jobclaim.cli.commands.schedule.rows import LIST, NEXT, last_ticks, record, times
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session

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
@click.option(
    "--static",
    "roots",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Read source files only; import nothing.",
)
@click.option("--live", is_flag=True, help="Read from the fleet table which queues workers listen to.")
@click.option(
    "--hotspot",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Report a minute in which at least this many entries fire.",
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
    """Find duplicates, hotspots, missing idempotency, orphaned tasks, risky `expires`, queues without a consumer,
    crontabs that never fire, and ticks that a clock change skips or repeats.

    Exits with 4 when there are findings, and with 1 when a requested check could not be made.
    """
    from jobclaim.cli.findings import conclude
    from jobclaim.governance.schedule_rules import validate as check

    chosen = [name for name in CHECKS if flags[f"check_{name.replace('-', '_')}"]]
    looked = of_source(roots, chosen, hotspot, known) if roots else of_app(session, app, live, hotspot, known)
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
    click.get_current_context().exit(_exit_code(code, looked.incomplete, "orphaned-tasks" in chosen))


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

    entries, world = entries_of_app(session, app, live=False, hotspot=5)
    pauses, now = session.repo.pauses.current(), session.now()
    last = last_ticks(session, entries)
    rows = [
        {
            **record(entry, world, 1),
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
    entries, world = entries_of_app(session, app, live=False, hotspot=5)
    first: list[dict[str, Any]] = []
    later: list[dict[str, Any]] = []
    for entry in entries:
        ticks = record(entry, world, count)["next"] or ["never"]
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


def _at(row: Mapping[str, Any]) -> str:
    return str(row["at"])


def _exit_code(code: ExitCode, incomplete: tuple[str, ...], strict: bool) -> ExitCode:
    """Report the places that could not be checked. If the user asked for the check, they make it fail."""
    if not incomplete:
        return code
    remark("Not checked for orphaned tasks, because only the running app knows them (--app MODULE:NAME):")
    for place in incomplete:
        remark(f"  {place}")
    return ExitCode.ERROR if strict and code is ExitCode.OK else code
