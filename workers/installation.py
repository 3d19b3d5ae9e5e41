"""``jobclaim.install(app)``: jobclaim on any Celery app, before or after its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from celery import Celery, Task, _state
from celery.app.control import Control
from celery.app.events import Events
from celery.app.log import Logging

from jobclaim.jobs import idempotency
from jobclaim.settings import Settings
from jobclaim.workers import builtins, config, decorator, forks, own_tasks, signals, time_limits
from jobclaim.workers.attempt import coroutines
from jobclaim.workers.handle import Handle, installed_on, is_made_up
from jobclaim.workers.submission.idempotency import key_of
from jobclaim.workers.task import JobTask
from jobclaim.workers.telemetry import sentry

STEPS: Final = (
    "jobclaim.workers.process.steps:ParentStep",
    "jobclaim.workers.process.steps:ProtectionStep",
    "jobclaim.workers.process.alive:Alive",
)
"""Dotted names, because only a worker imports the classes."""
OURS: Final = {
    "events_cls": ("jobclaim.workers.control:JobEvents", Events),
    "control_cls": ("jobclaim.workers.control:JobControl", Control),
    "task_cls": ("jobclaim.workers.attempt.coroutines:PlainTask", Task),
    "log_cls": ("jobclaim.workers.telemetry.logs:WorkerLogging", Logging),
}
"""Classes of an app that are replaced by jobclaim's where they are Celery's own."""


def install(app: Celery, settings: Settings | None = None) -> Handle:
    """Install jobclaim on a Celery app; the handle is ``app.jobclaim`` afterwards.

    The app's routes, schedules, time zone, bootsteps and plain tasks keep working. Options that contradict the claim
    rule are overridden, in one warning that names each key, both values and the reason: now if the app is configured
    already, else when it is. The environment is not read and AWS is not called before it is needed.

    Parameters
    ----------
    app : celery.Celery
        Any app; several apps in one process are independent.
    settings : Settings, optional
        Default: the project's own, read when they are first needed (environment, Django's ``JOBCLAIM``,
        ``pyproject.toml``).

    Returns
    -------
    Handle
        The same one when the app has it already and ``settings`` are not given, or equal.

    Raises
    ------
    ValueError
        The app has other settings already.
    """
    if (known := installed_on(app)) is not None:
        if settings is not None and settings != known.settings:
            raise ValueError(
                f"jobclaim is installed on the app {app.main!r} with different settings; install it once, or make a "
                "Celery app for each set of settings"
            )
        return known
    handle = Handle(app, settings)
    app.jobclaim = handle
    _replace_celerys_own(app)
    app.backend_cls = "jobclaim.workers.results.backend:JobBackend"
    app.steps["worker"].update(STEPS)
    own_tasks.register(app)
    signals.watch(app)
    idempotency.learn_tasks(InstalledTasks())
    decorator.watch(app)
    forks.watch(app)
    sentry.adopt()
    app.on_after_finalize.connect(_prepare_bodies, weak=False)
    _be_found_from_every_thread(app)
    if app.configured:
        config.merge(handle)
    if app.finalized:
        _adopt_tasks(app, handle)
        _prepare_bodies(app)
    return handle


class InstalledTasks:
    """The tasks of all apps that jobclaim is installed on, looked up by task name alone."""

    def registered(self, name: str) -> Any:
        """Return the `JobTask` of that name; ``None`` if no app has it."""
        for app in _state._get_active_apps():
            if installed_on(app) is not None and isinstance(task := app.tasks.get(name), JobTask):
                return task
        return None

    def key_of(self, task: Any, values: Mapping[str, Any]) -> str:
        """Return the key of a task's call."""
        return key_of(task, values)


def _replace_celerys_own(app: Any) -> None:
    """Replace Celery's classes by jobclaim's, and recreate the objects that the app has made of them already."""
    for name, (ours, celerys) in OURS.items():
        if getattr(app, name) in (f"{celerys.__module__}:{celerys.__name__}", celerys):
            setattr(app, name, ours)
    if type(app).Beat is Celery.Beat:
        app.Beat = partial(_make_beat, app)
    for cached in ("control", "events", "log", "amqp"):
        vars(app).pop(cached, None)
    app._backend_cache = None
    app._local.__dict__.pop("backend", None)


def _make_beat(app: Any, **options: Any) -> Any:
    """Make the ``celery beat`` program; its module is imported by that command only."""
    from jobclaim.workers.schedule.foreign import JobBeat

    return JobBeat(**{"app": app, **options})


def _be_found_from_every_thread(app: Any) -> None:
    """Make it the process's default app unless another one was chosen.

    ``set_as_current`` applies to the importing thread only: in other threads `@shared_task` would resolve to a default
    app that Celery creates, without a broker.
    """
    if _state.default_app is None or is_made_up(_state.default_app):
        app.set_default()


def _prepare_bodies(sender: Any, **_: Any) -> None:
    """Prepare the existing tasks to run ``async def`` bodies, in workers and in eager mode; later tasks are prepared by
    their class.
    """
    for task in list(sender.tasks.values()):
        coroutines.prepare_instance(task)
    builtins.guard(sender)


def _adopt_tasks(app: Any, handle: Handle) -> None:
    """Set the time limits of the tasks that were bound before jobclaim was installed."""
    for task in app.tasks.values():
        if isinstance(task, JobTask):
            time_limits.adopt(type(task), handle)
