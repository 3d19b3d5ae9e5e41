"""State that commands share: settings, app and repo, each created on first use."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

import click

from jobclaim.cli.host_app import find_host_app, see_this_folder
from jobclaim.specs.visible import visible_event

if TYPE_CHECKING:
    from jobclaim.jobs import JobRepo
    from jobclaim.settings import Settings


class Session:
    """One run of the command line.

    Parameters
    ----------
    app : optional
        The Celery app of ``celery -A ... jobs``; `jobclaim` itself uses the one of ``--app``,
        else the default app.
    """

    def __init__(self, app: Any = None) -> None:
        self._app = app

    @cached_property
    def settings(self) -> Settings:
        """Return the app's settings, else those of the environment."""
        if (app := self._app or find_host_app()) is not None:
            from jobclaim.workers.handle import handle_of

            self._app = app
            return handle_of(app).settings
        from jobclaim.settings import Settings

        return Settings()

    @cached_property
    def app(self) -> Any:
        """Return the Celery app for sending messages; users' modules are not imported."""
        if self._app is None:
            from jobclaim.workers.apps import default_app

            self._app = find_host_app() or default_app()
        return self._app

    @cached_property
    def app_with_tasks(self) -> Any:
        """Return the Celery app with the users' tasks registered; modules in the working directory are found too."""
        see_this_folder()
        self.app.loader.import_default_modules()
        return self.app

    @cached_property
    def repo(self) -> JobRepo:
        """Return the repo of the job table; does not need Celery."""
        from jobclaim.jobs import JobRepo

        quiet_logs()
        return JobRepo.from_settings(self.settings)

    def now(self) -> int:
        """Return the current time, epoch milliseconds."""
        return self.repo.clock()


pass_session = click.make_pass_decorator(Session, ensure=True)


def quiet_logs(level: int = 30, file: TextIO | None = None) -> None:
    """Hide log lines below a level (30 is WARNING): commands report their results themselves.

    Parameters
    ----------
    file : optional
        Where the other lines go; default standard error.
    """
    from structlog import PrintLoggerFactory, configure, get_config, make_filtering_bound_logger
    from structlog.processors import format_exc_info

    *before, renderer = [each for each in get_config()["processors"] if each not in (format_exc_info, visible_event)]
    configure(
        processors=[*before, format_exc_info, visible_event, renderer],
        wrapper_class=make_filtering_bound_logger(level),
        logger_factory=PrintLoggerFactory(file=file or sys.stderr),
        cache_logger_on_first_use=False,
    )
