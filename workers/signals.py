"""Handlers of Celery's signals in workers, children and beats, by app."""

from __future__ import annotations

import gc
from typing import Any

from celery import Celery, current_app
from celery import signals as celerys

from jobclaim.jobs.storage.pending import write_all
from jobclaim.workers import config, plain, time_limits
from jobclaim.workers.attempt import body
from jobclaim.workers.handle import installed_on
from jobclaim.workers.pools import choice
from jobclaim.workers.process import startup
from jobclaim.workers.schedule import alive as beat_alive
from jobclaim.workers.state import worker
from jobclaim.workers.telemetry import logs, metrics, sentry, traces


def watch(app: Celery) -> None:
    """Connect the handlers; each does nothing for an app that jobclaim is not installed on."""
    app.on_after_configure.connect(_merge_when_read, weak=False)
    celerys.import_modules.connect(_merge)  # the last signal before a worker or beat starts
    celerys.worker_init.connect(_prepare_to_fork)
    celerys.worker_process_init.connect(_after_fork)
    celerys.worker_process_shutdown.connect(_export_the_rest)
    celerys.worker_shutdown.connect(_export_the_rest)
    celerys.celeryd_after_setup.connect(_refuse_wrong_tasks)
    celerys.task_prerun.connect(body.begin, weak=False)
    celerys.task_postrun.connect(body.end, weak=False)
    celerys.beat_init.connect(_watch_beat)


def _merge_when_read(sender: Any, **_: Any) -> None:
    """Merge the configuration. Celery would log an error of this handler and continue, so the handle keeps it and
    raises it on its next use.
    """
    if handle := installed_on(sender):
        try:
            config.merge(handle)
        except Exception as error:  # noqa: BLE001 - whoever uses the handle gets the error
            handle.refusal = error


def _merge(sender: Any, **_: Any) -> None:
    if handle := installed_on(sender):
        config.merge(handle)


def _prepare_to_fork(sender: Any, **_: Any) -> None:
    if handle := installed_on(sender.app):
        choice.choose(sender)
        handle.overridden += startup.override_options(sender, handle.settings)  # logged once logging is set up
        sentry.adopt()
        worker.begin()
        metrics.prepare(handle.settings)
        metrics.serve(handle.settings)
        handle.repo.table.client()  # imports botocore before the fork; children make clients of their own


def _after_fork(**_: Any) -> None:
    if handle := installed_on(app := current_app._get_current_object()):
        sentry.adopt()
        plain.contain(app)
        handle.repo.table.client()  # making it at the first claim would use up the task's time limit


def _export_the_rest(**_: Any) -> None:
    traces.flush()
    metrics.flush()
    if handle := installed_on(current_app._get_current_object()):
        handle.flush()
    write_all()  # here, because a child of the pool skips its exit handlers


def _refuse_wrong_tasks(instance: Any, **_: Any) -> None:
    """Stop before the first job if a task exceeds the limits from which leases and timeouts are derived."""
    if handle := installed_on(instance.app):
        if found := time_limits.problems(instance.app.tasks.values(), handle):
            raise SystemExit("jobclaim: this worker cannot start:\n" + "\n".join(f"- {problem}" for problem in found))
        if (embedded := getattr(instance, "beat", None)) is not None:
            from jobclaim.workers.schedule import foreign

            foreign.refuse(embedded.service.scheduler_cls, handle.settings)
        startup.refuse_away_from_home(handle.settings)
        startup.refuse_low_visibility(instance, handle.settings)
        plain.prepare_tasks(instance.app)
        logs.skip_lines_of_jobs(instance.app.tasks.values())
        _keep_memory_shared()


def _keep_memory_shared() -> None:
    """Exclude everything that exists before the pool forks from garbage collection.

    A child's collections would write to each of these objects, and so copy their pages: 20 MB per child.
    """
    gc.collect()
    gc.freeze()


def _watch_beat(sender: Any, **_: Any) -> None:
    if handle := installed_on(sender.app):
        try:
            beat_alive.watch(sender, handle.settings.run_folder)
        except PermissionError as error:  # Celery would log it and go on, and the health check would fail forever
            raise SystemExit(f"jobclaim: beat cannot start: {error}") from None
