"""Input of the schedule rules from source code alone: the tasks' names, their bases, queues, routes and time zone."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobclaim.governance.delivery_rules import is_claimed
from jobclaim.governance.inspection import ONCE
from jobclaim.governance.schedule_rules import World
from jobclaim.governance.schedules import Entry
from jobclaim.governance.source import Source, TaskSource, read

BUILT_IN: Final = frozenset(
    {f"celery.{name}" for name in ("accumulate", "backend_cleanup", "chain", "chord", "chord_unlock", "chunks")}
    | {f"celery.{name}" for name in ("group", "map", "starmap")}
    | {"jobclaim.chord", "jobclaim.recovery.sweep"}
)
"""Tasks that Celery and jobclaim register themselves."""


def static_world(source: Source, *, hotspot: int, entries: Sequence[Entry] = (), known: Iterable[str] = ()) -> World:
    """Return what source code alone shows of tasks, for the rules.

    Parameters
    ----------
    entries : sequence of Entry
        Entries to check; libraries whose tasks they name are read too, if they are installed.
    known : iterable of str
        Patterns of names of tasks that are declared elsewhere.
    """
    world = World(
        tasks=BUILT_IN | {name for task in source.tasks for name in (task.name, *task.other_names) if not task.pattern},
        patterns=(*(task.pattern for task in source.tasks if task.pattern), *_own_names(source)),
        known=tuple(known),
        registry="declared in the source that was read",
        idempotent=BUILT_IN | {task.name for task in source.tasks if _is_idempotent(task)},
        queues=_queues(source),
        default_queue="",
        aligned=source.installs_jobclaim,
        expires_by_default=source.installs_jobclaim,
        zone=_zone(source),
        year=datetime.now(UTC).year,
        expiring=frozenset(task.name for task in source.tasks if task.options.get("expires") is not None),
        hotspot=hotspot,
    )
    return replace(world, tasks=(world.tasks or frozenset()) | _library_tasks(source, entries, world))


def _own_names(source: Source) -> Iterable[str]:
    """Yield patterns of generated task names: the source shows only the function's name, their last part."""
    return [rf".*\b{task.function}" for task in source.tasks if source.names_are_own and not task.given_name]


def _is_idempotent(task: TaskSource) -> bool:
    """Return whether equal ticks become one job, as those of a claimed task do; others are judged by bases and
    decorators.
    """
    named = [name.lower() for name in (*task.bases, *task.wraps)]
    return is_claimed(task) or task.claims or any(word in name for name in named for word in ONCE)


def _queues(source: Source) -> frozenset[str] | None:
    """Return the queues that the source declares; ``None`` if it declares none, or computes a name."""
    named = [text.exact for text in source.queues]
    return frozenset(name for name in named if name) if named and all(named) else None


def _zone(source: Source) -> tzinfo:
    """Return the time zone that the source sets, else Celery's default."""
    for one in source.settings:
        if one.kind == "timezone":
            try:
                return ZoneInfo(one.value)
            except (ValueError, ZoneInfoNotFoundError):
                continue
    return UTC


def _library_tasks(source: Source, entries: Sequence[Entry], world: World) -> frozenset[str]:
    missing = {entry.task for entry in entries if entry.task_known and not world.knows(entry.task)}
    tops = {name.split(".")[0] for name in missing if "." in name and not source.modules.is_ours(name)}
    return frozenset(task.name for top in sorted(tops) for task in _installed(top))


def _installed(top: str) -> list[TaskSource]:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return []
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return read(folders).tasks
