"""The settings' schedules as entries of Celery's ``beat_schedule``, merged with those of the host's app."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from jobclaim.settings import ScheduleSpec, Settings
from jobclaim.specs.cron import parse_cron
from jobclaim.specs.tasks import OWN_TASKS, RECOVERY_SCHEDULE
from jobclaim.specs.zones import zone_of
from jobclaim.workers.schedule.rhythm import CronTicks

RECOVERY_TASK: Final = "jobclaim.recovery.sweep"
OWN: Final = ("celery.", OWN_TASKS)
"""Prefixes of tasks that are registered without any user module."""


def beat_schedule(settings: Settings) -> dict[str, Any]:
    """Return the settings' schedules and recovery's own. A pass that waits longer than its interval expires."""
    own = entries(settings)
    if not settings.recovery_by_beat:
        return own
    return own | {
        RECOVERY_SCHEDULE: {
            "task": RECOVERY_TASK,
            "schedule": float(settings.recovery_interval_seconds),
            "options": {"queue": settings.recovery_queue, "expires": float(settings.recovery_interval_seconds)},
        }
    }


def entries(settings: Settings) -> dict[str, Any]:
    """Return the schedules of settings as entries of Celery's ``beat_schedule``."""
    return {name: _entry(spec) for name, spec in settings.schedules.items()}


def merge_schedules(own: Mapping[str, Any], host: Mapping[str, Any] | None) -> dict[str, Any]:
    """Merge the settings' entries and the host's own ``beat_schedule``; merging twice changes nothing.

    Raises
    ------
    ValueError
        A name has different entries in both, and either could run.
    """
    entries = dict(host or {})
    for name in own.keys() & entries.keys():
        if own[name] != entries[name]:
            raise ValueError(
                f"schedule {name!r} is defined twice: by jobclaim's settings, for task {_task(own[name])!r}, and by "
                f"beat_schedule of the Celery app, for task {_task(entries[name])!r}; rename or remove one of the two"
            )
    return {**entries, **own}


def _task(entry: Any) -> str:
    return str(entry.get("task") if isinstance(entry, Mapping) else getattr(entry, "task", entry))


def _entry(spec: ScheduleSpec) -> dict[str, Any]:
    options = {"queue": spec.queue, "expires": spec.expires}
    return {
        "task": spec.task,
        "schedule": spec.every if spec.every is not None else _ticks(spec),
        "args": tuple(spec.args),
        "kwargs": dict(spec.kwargs),
        "options": {option: value for option, value in options.items() if value is not None},
    }


def _ticks(spec: ScheduleSpec) -> CronTicks:
    text = spec.cron or ""
    return CronTicks(parse_cron(text), zone_of(spec.timezone), text)


def orphaned(tasks: Mapping[str, str], registered: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Return the schedules whose task does not exist, as far as a beat can determine.

    Parameters
    ----------
    tasks : mapping of str to str
        Name of the task, by schedule.
    registered : collection of str
        Names of the app's tasks. If they are only Celery's and jobclaim's, the beat does not import task modules, and
        nothing can be concluded.
    known : collection of str
        Names that settings give to tasks.
    """
    if all(name.startswith(OWN) for name in registered):
        return {}
    return {name: task for name, task in tasks.items() if task not in registered and task not in known}
