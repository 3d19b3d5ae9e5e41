"""Check foreign schedulers, which beat may use beside `jobclaim.workers.schedule.beat.JobScheduler`.

A scheduler that keeps its schedules elsewhere, as django-celery-beat does in a database, gives each tick a random id:
two beats run it twice. It would also keep recovery's entry as it was at its first start, whatever the settings say
later. So it may only serve the ticks of plain tasks, while recovery and the settings' schedules run without it.
"""

from __future__ import annotations

from typing import Any, Final

from celery.apps.beat import Beat
from celery.utils.imports import load_extension_class_names, symbol_by_name

from jobclaim.settings import Settings
from jobclaim.workers.schedule.beat import JobScheduler

OURS: Final = f"{JobScheduler.__module__}:{JobScheduler.__name__}"
EXTENSIONS: Final = "celery.beat_schedulers"
"""Entry points with short names of schedulers: ``-S django``."""


def problem(scheduler: Any, settings: Settings) -> str | None:
    """Return why beat cannot work with a scheduler, given as a class or a name, and what to do; ``None`` if it can."""
    chosen = symbol_by_name(scheduler, aliases=dict(load_extension_class_names(EXTENSIONS)))
    if issubclass(chosen, JobScheduler):
        return None
    needed, remedies = [], []
    if settings.recovery_by_beat:
        needed.append("recovery's tick")
        remedies.append("run `jobclaim recover --every 60s` beside it and set recovery_by_beat=false")
    if settings.schedules:
        needed.append(f"the schedules of jobclaim's settings ({', '.join(settings.schedules)})")
        remedies.append("move these schedules to it")
    if not needed:
        return None
    return (
        f"the scheduler {chosen.__module__}:{chosen.__qualname__} would also have to run {' and '.join(needed)}, and "
        f"it submits ticks twice when two beats run. Leave beat_scheduler and -S out, or set {OURS}; to keep it for "
        f"plain tasks: {'; '.join(remedies)}"
    )


def refuse(scheduler: Any, settings: Settings) -> None:
    """Stop a beat that cannot work with its scheduler, before the scheduler writes its schedules anywhere.

    Raises
    ------
    SystemExit
        The message has the reason and the remedy.
    """
    if found := problem(scheduler, settings):
        raise SystemExit(f"jobclaim: beat cannot start: {found}")


class JobBeat(Beat):
    """Celery's beat program; it checks its scheduler before creating it."""

    def start_scheduler(self) -> None:
        """Start the scheduler, or refuse it."""
        refuse(self.scheduler_cls, self.app.jobclaim.settings)
        super().start_scheduler()
