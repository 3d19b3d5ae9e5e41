"""What `jobclaim schedule` reads: the entries of an app or of source code, and what else the rules need."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobclaim.cli.session import Session
from jobclaim.specs.plurals import counted

if TYPE_CHECKING:
    from jobclaim.governance.schedule_rules import World
    from jobclaim.governance.schedules import Entry


@dataclass(frozen=True)
class Checkable:
    """What is checked, and which parts of it could not be read."""

    entries: list[Entry]
    world: World
    what: str
    incomplete: tuple[str, ...] = ()


def of_app(session: Session, app: str | None, live: bool, hotspot: int, known: tuple[str, ...]) -> Checkable:
    """Read the schedule of an app."""
    entries, world = entries_of_app(session, app, live, hotspot)
    return Checkable(entries, replace(world, known=known), _entries(entries))


def _entries(entries: list[Entry]) -> str:
    return counted(len(entries), "schedule entry", "schedule entries")


def of_source(roots: tuple[Path, ...], chosen: list[str], hotspot: int, known: tuple[str, ...]) -> Checkable:
    """Read the schedules that source files and project files name; nothing is imported."""
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
        f"{_entries(entries)} and {counted(len(source.tasks), 'task')} of {counted(source.files, 'file')}",
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


def entries_of_app(session: Session, app: str | None, live: bool, hotspot: int) -> tuple[list[Entry], World]:
    """Return the entries of an app, by default jobclaim's own, and what else the rules need."""
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
