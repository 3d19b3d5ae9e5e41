"""The tasks that jobclaim itself runs, registered on each app that it is installed on."""

from __future__ import annotations

from typing import Any, Final

from celery import Celery, Task
from celery.utils.imports import symbol_by_name

from jobclaim.workers.results import chords, links
from jobclaim.workers.schedule.entries import RECOVERY_TASK

RUN_RECOVERY: Final = "jobclaim.recovery.tasks:run_pass"
"""By name: recovery stands above this layer, and only its own worker imports it."""


def register(app: Celery) -> None:
    """Register recovery, chords, and what tells the links of a job that ended without its worker."""
    app.task(name=RECOVERY_TASK, base=Task, bind=True, ignore_result=True, shared=False)(_recover)
    app.task(name=chords.CHORD_TASK, base=chords.UpkeepTask, bind=True, shared=False, starts_early=True)(
        chords.run_chord  # which looks itself whether its members have ended
    )
    app.task(name=links.TELL_TASK, base=chords.UpkeepTask, bind=True, shared=False)(chords.tell_links)


def _recover(self: Any) -> Any:
    """Run one recovery pass.

    A plain task, not a job: it needs no claim, because passes are safe in parallel with each other, and it must not
    depend on what it repairs.
    """
    return symbol_by_name(RUN_RECOVERY)(self.app)
