"""Apps by their settings: the default app of ``celery -A jobclaim``, and one to send with for code without an app."""

from __future__ import annotations

from typing import Final

from celery import Celery, _state

from jobclaim.jobs import Job
from jobclaim.jobs.locks import ProcessLock
from jobclaim.settings import Settings
from jobclaim.workers.handle import installed_on
from jobclaim.workers.installation import install
from jobclaim.workers.submission.dispatch import publish

_lock: Final = ProcessLock()
_default: list[Celery] = []
_senders: list[Celery] = []


def default_app() -> Celery:
    """Return the default app; it is made from the project's settings on first use."""
    with _lock:
        if not _default:
            _default.append(create_app())
        return _default[0]


def create_app(settings: Settings | None = None) -> Celery:
    """Make an app from settings only; it does not become the current app."""
    app = Celery("jobclaim", set_as_current=False)
    install(app, settings)
    return app


def app_for(settings: Settings) -> Celery:
    """Return an app that sends to these settings' queues: the current one, another installed one, or a new one."""
    with _lock:
        for app in (_state._tls.current_app, *_senders, *_state._get_active_apps()):
            if app is not None and (handle := installed_on(app)) and handle.settings == settings:
                break
        else:
            app = create_app(settings)
        if app not in _senders:
            _senders.append(app)
        return app


def send(settings: Settings, job: Job, delay_seconds: float = 0.0) -> None:
    """Publish the message of a job's next attempt, for callers with settings but no app. Raises as `publish`."""
    publish(app_for(settings), job, delay_seconds)
