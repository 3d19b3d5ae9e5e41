"""The handle of jobclaim on one Celery app: `app.jobclaim`, set by `jobclaim.install`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import click
from celery import _state
from celery.utils.imports import symbol_by_name

from jobclaim.fleet.breaker import Breakers
from jobclaim.fleet.limits import FleetLimits
from jobclaim.fleet.tally import Tally
from jobclaim.jobs import Job, JobError, JobRepo, log
from jobclaim.jobs.locks import ProcessLock
from jobclaim.settings import Settings
from jobclaim.workers.state import worker
from jobclaim.workers.submission.dispatch import publish

worker_log = log.get_logger("jobclaim.worker")

INSTALL: Final = "jobclaim.workers.installation:install"
"""A dotted name, because that module imports this one."""


class NotInstalled(JobError):
    """A Celery app was used with jobclaim before ``jobclaim.install(app)``."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The objects that one process holds for a handle; each is thread-safe."""

    repo: JobRepo
    limits: FleetLimits
    breakers: Breakers
    counts: Tally

    @classmethod
    def of(cls, repo: JobRepo) -> Parts:
        """Make the parts that use a repo."""
        return cls(repo, FleetLimits.of(repo), Breakers.of(repo), Tally.of(repo))


class Handle:
    """Everything that jobclaim keeps for one app. Tasks find it through their own app, never through a global.

    Parameters
    ----------
    app : celery.Celery
        The app that it is installed on.
    settings : Settings, optional
        Default: the project's own, read when they are first needed: the environment, Django's ``JOBCLAIM``,
        ``pyproject.toml``.
    """

    def __init__(self, app: Any, settings: Settings | None = None) -> None:
        self.app = app
        self._settings = settings
        self._parts: Parts | None = None
        self._pid = 0
        self.merged: dict[str, Any] = {}
        """Values set by `jobclaim.workers.config.merge`, by key of the app's configuration."""
        self.overridden: list[dict[str, str]] = []
        """Values of the host that were overridden and not reported yet: key, both values and the reason."""
        self.refusal: Exception | None = None
        """Why the app's configuration could not be merged; raised whenever the handle is used."""
        self._host_routes: list[Any] = []
        self._inherited: list[Parts] = []
        self.templates: dict[tuple[Any, ...], Any] = {}
        """Messages that are made once: `jobclaim.workers.submission.prebuilt`."""
        self._lock = ProcessLock()
        log.add_app(self)

    @property
    def name(self) -> str:
        """The app's name; log lines carry it when the process has several apps."""
        return str(self.app.main)

    @property
    def settings(self) -> Settings:
        """The app's settings. Raises `pydantic.ValidationError` where the project's cannot be read."""
        if self._settings is None:
            self._settings = Settings()
        return self._settings

    @property
    def repo(self) -> JobRepo:
        """The jobs of this app."""
        return self._own().repo

    @property
    def limits(self) -> FleetLimits:
        """The rate and concurrency limits that the whole fleet shares."""
        return self._own().limits

    @property
    def breakers(self) -> Breakers:
        """The circuit breakers of external services, shared by the whole fleet."""
        return self._own().breakers

    @property
    def counts(self) -> Tally:
        """The counts behind the fleet's alerts, for reading; the repo writes them."""
        return self._own().counts

    @property
    def host_routes(self) -> list[Any]:
        """The host's own ``task_routes``, as Celery's router takes them."""
        if not self.merged:
            self.app.conf.get("task_routes")  # any read loads the configuration, and loading merges it
        return self._host_routes

    @host_routes.setter
    def host_routes(self, routes: list[Any]) -> None:
        self._host_routes = routes

    def use(self, settings: Settings, repo: JobRepo | None = None) -> None:
        """Replace the settings, and optionally the repo; for tests."""
        self._settings = settings
        self._parts, self._pid = (Parts.of(repo), os.getpid()) if repo is not None else (None, 0)
        if repo is not None and repo.sender is None:
            repo.sender = self._send

    def report_overridden(self) -> None:
        """Log what was overridden since the last report, in one warning; a worker waits until its log is set up."""
        overridden, self.overridden = self.overridden, []
        if overridden:
            worker_log.warning("config.overridden", app=self.name, overridden=overridden)

    def _send(self, job: Job) -> None:
        """Publish the message of a job that the app's repo has made PENDING again."""
        publish(self.app, job, max(0, job.available_at - self.repo.clock()) / 1000)

    def _own(self) -> Parts:
        """Return this process's parts. A forked child makes its own: another thread may have held a lock during the
        fork.

        The inherited parts are kept alive: collecting them would close TLS connections that the parent still uses.
        """
        if self.refusal is not None:
            raise self.refusal
        pid = os.getpid()
        if self._pid != pid or self._parts is None:
            with self._lock:
                if self._pid != pid or self._parts is None:
                    if self._parts is not None:
                        self._inherited.append(self._parts)
                    self._parts = Parts.of(JobRepo.from_settings(self.settings))
                    self._parts.repo.sender = self._send
                    self._parts.repo.pauses.shared = lambda: worker.current().pauses()
                    self._pid = pid
        return self._parts

    def flush(self) -> None:
        """Write this process's pending counts; takes a few seconds at most."""
        if self._parts is not None and self._pid == os.getpid():
            with log.speaking_for(self):
                self._parts.repo.flush()


def log_follows() -> bool:
    """Return whether this process is about to become a worker or beat, whose log is set up after its configuration."""
    context = click.get_current_context(silent=True)
    return context is not None and context.find_root().invoked_subcommand in ("worker", "beat")


def is_made_up(app: Any) -> bool:
    """Return whether the app is Celery's implicit default one, without jobclaim installed on it."""
    return bool(app.main == "default" and not app.set_as_current and "jobclaim" not in vars(app))


def installed_on(app: Any) -> Handle | None:
    """Return the handle of an app, or ``None`` if jobclaim is not installed on it."""
    found = vars(app).get("jobclaim")
    return found if isinstance(found, Handle) else None


def handle_of(app: Any) -> Handle:
    """Return the handle of an app that jobclaim is installed on.

    Where a program has no app, jobclaim is installed on the default app that Celery creates, with the project's
    settings.

    Raises
    ------
    NotInstalled
        jobclaim is not installed on the app; the message names the app and says what to add.
    """
    if (found := installed_on(app)) is not None:
        return found
    if app is _state.default_app and is_made_up(app) and list(_state._get_active_apps()) == [app]:
        return symbol_by_name(INSTALL)(app)  # type: ignore[no-any-return]
    raise NotInstalled(
        f"jobclaim is not installed on the Celery app {getattr(app, 'main', None)!r}; add jobclaim.install(app) where "
        "the app is made. A @shared_task that is called before that module was imported belongs to Celery's own "
        "default app: import it first"
    )
