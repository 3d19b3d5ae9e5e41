"""The schedules of settings, as Celery's ``beat_schedule`` has them."""

from __future__ import annotations

from typing import Any

from celery.schedules import crontab

from jobclaim.settings import ScheduleSpec, Settings


def entries(settings: Settings) -> dict[str, Any]:
    """The schedules of settings, as Celery's ``beat_schedule`` has them.

    Raises
    ------
    ValueError
        A cron expression that cannot be read; the message names schedule and expression.
    """
    return {name: _entry(name, spec) for name, spec in settings.schedules.items()}


def _entry(name: str, spec: ScheduleSpec) -> dict[str, Any]:
    options = {"queue": spec.queue, "expires": spec.expires}
    return {
        "task": spec.task,
        "schedule": spec.every if spec.every is not None else _crontab(name, spec.cron or ""),
        "args": tuple(spec.args),
        "kwargs": dict(spec.kwargs),
        "options": {option: value for option, value in options.items() if value is not None},
    }


def _crontab(name: str, expression: str) -> Any:
    try:
        return crontab.from_string(" ".join(expression.split()))
    except Exception as error:
        raise ValueError(
            f"schedules[{name!r}].cron={expression!r} cannot be read ({error}); write minute, hour, day of month, "
            "month, day of week, as in '*/5 6-20 * * mon-fri'"
        ) from error
