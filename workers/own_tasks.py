"""jobclaim's own tasks, registered on each app that it is installed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from celery import Celery, Task
from celery.exceptions import ChordError
from celery.utils.imports import symbol_by_name
from kombu.exceptions import OperationalError

from jobclaim.jobs import FailureKind, JobError, StoreUnavailable
from jobclaim.workers.messages import links
from jobclaim.workers.results import joining, notifying
from jobclaim.workers.results.chords import group_id_of
from jobclaim.workers.schedule.entries import RECOVERY_TASK
from jobclaim.workers.task import JobTask

RUN_RECOVERY: Final = "jobclaim.recovery.tasks:run_pass"
"""A dotted name, because recovery is a layer above this one, and only its own worker imports it."""
PATIENCE: Final = 20
"""Attempts of the small jobs below, which are safe to repeat."""


class UpkeepTask(JobTask):
    """A small job of jobclaim itself, safe to repeat at any point."""

    abstract = True
    on_orphan = "retry"
    max_retries = PATIENCE
    default_retry_delay = 10
    autoretry_for = (JobError, OSError, OperationalError)
    failure_kinds: ClassVar[Mapping[Any, Any]] = {ChordError: FailureKind.PERMANENT}


def register(app: Celery) -> None:
    """Register the tasks for recovery, chords, and notifying the links of a job that ended without its worker."""
    app.task(name=RECOVERY_TASK, base=Task, bind=True, ignore_result=True, shared=False)(_recover)
    app.task(name=links.CHORD_TASK, base=UpkeepTask, bind=True, shared=False, ready_early=_all_counted)(
        joining.run_chord
    )
    app.task(name=links.TELL_TASK, base=UpkeepTask, bind=True, shared=False)(notifying.notify_links)


def _all_counted(self: Any, job_id: str) -> bool:
    """Check whether all members of a chord have ended: the last one sends the chord's message before it is due."""
    try:
        return bool(self.app.backend.notes.arrivals(group_id_of(job_id)).complete)
    except StoreUnavailable:
        return False  # then the claim fails as well, or the chord starts at its next check


def _recover(self: Any) -> Any:
    """Run one recovery pass.

    A plain task, not a job: it needs no claim, because passes are safe in parallel with each other, and it must not
    depend on the data that it repairs.
    """
    return symbol_by_name(RUN_RECOVERY)(self.app)
