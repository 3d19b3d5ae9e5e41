"""The demo's stage: an embedded AWS with short limits, real workers, beat, and a directory for the evidence."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jobclaim.cli.processes import Child, beat, end_all, importable, start_child, worker
from jobclaim.cli.session import quiet_logs
from jobclaim.infra import LocalAws, local_aws, provision, resolve_queue_urls
from jobclaim.jobs import JobRepo
from jobclaim.settings import Settings

COUNTS: Final = "default"
REPORTS: Final = "reports"
CONCURRENCY: Final = 2

ENVIRONMENT: Final = {
    "JOBCLAIM_CONFIG": os.devnull,  # the folder may be inside a project that has settings of its own
    "JOBCLAIM_QUEUES": json.dumps(
        [
            {"name": COUNTS, "soft_limit": 4, "hard_limit": 5, "sla_seconds": 2},
            # Longer, and polled first: on a slow machine both reports must still run when their worker is killed.
            {"name": REPORTS, "soft_limit": 20, "hard_limit": 25, "sla_seconds": 2, "priority": 9},
            {"name": "recovery", "soft_limit": 8, "hard_limit": 9, "sla_seconds": 2, "concurrency": 1},
        ]
    ),
    # A message that a killed worker had fetched comes back after max(2 x 5, 5 + 0 + 1) = 10 s.
    "JOBCLAIM_STOP_TIMEOUT_SECONDS": "0",
    "JOBCLAIM_VISIBILITY_SLACK_SECONDS": "1",
    # A killed worker's jobs are found by its missing heartbeat, long before their leases end.
    "JOBCLAIM_LEASE_GRACE_SECONDS": "2",
    "JOBCLAIM_HEARTBEAT_SECONDS": "1",
    "JOBCLAIM_WORKER_DEAD_AFTER_SECONDS": "4",
    # A lost message is sent again after 10 s: longer than the workers take to start and to work off the backlog.
    "JOBCLAIM_REDISPATCH_MIN_SECONDS": "10",
    "JOBCLAIM_RECOVERY_INTERVAL_SECONDS": "2",
    "JOBCLAIM_WAIT_TIME_SECONDS": "2",
    "JOBCLAIM_TASK_MODULES": '["jobclaim.cli.demo.tasks"]',
    "JOBCLAIM_LOG_LEVEL": "INFO",
    "JOBCLAIM_LOG_FORMAT": "json",
}
"""Production's settings with seconds where it has minutes."""


@dataclass
class Stage:
    """The demo's environment: an embedded AWS, processes, and a directory for the evidence.

    Attributes
    ----------
    directory : Path
        Holds the logs of all processes, and the file to which bodies append.
    settings : Settings
        Settings of the workers.
    app : Celery
        App that submits and publishes as a user's own process would.
    """

    directory: Path
    aws: LocalAws
    settings: Settings
    app: Any
    queue_urls: Mapping[str, str]
    children: list[Child] = field(default_factory=list)

    @property
    def repo(self) -> JobRepo:
        """Repo of the demo's table."""
        repo: JobRepo = self.app.jobclaim.repo
        return repo

    @property
    def signatures(self) -> Path:
        """Return the file to which every body appends a line before it does anything."""
        return self.directory / "bodies.txt"

    @property
    def logs(self) -> list[Path]:
        """Logs of all processes that were started."""
        names = [*(child.name for child in self.children), "submitter"]
        return [self.directory / f"{name}.log" for name in names]

    def start_worker(self, name: str, *, queues: tuple[str, ...], concurrency: int = CONCURRENCY) -> Child:
        """Start a prefork worker."""
        return self._start(name, worker(name, queues=queues, concurrency=concurrency))

    def start_recovery(self) -> None:
        """Start what finds orphans and lost messages: beat, and a worker on recovery's own queue."""
        self._start("recovery", worker("recovery", queues=(self.settings.recovery_queue,), concurrency=1))
        self._start("beat", beat(self.directory / "schedule"))

    def dead_children(self) -> list[Child]:
        """Processes that have ended, for whatever reason."""
        return [child for child in self.children if child.exit_status() is not None]

    def end(self) -> None:
        """End all processes."""
        end_all(self.children)

    def _start(self, name: str, argv: list[str]) -> Child:
        log = self.directory / f"{name}.log"
        return start_child(self.children, name, argv, env=os.environ, output=log, cwd=self.directory)


@contextlib.contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Prepare the demo in a directory, and end all processes when the block ends; logs and evidence stay.

    In the meantime the caller's own jobclaim settings are ignored: environment, ``.env`` and ``pyproject.toml``.
    """
    with contextlib.ExitStack() as stack:
        directory.mkdir(parents=True, exist_ok=True)
        stack.enter_context(_isolated(ENVIRONMENT, directory))
        quiet_logs(file=stack.enter_context((directory / "submitter.log").open("a", encoding="utf-8")))
        aws = stack.enter_context(local_aws(Settings()))
        stack.enter_context(_isolated(ENVIRONMENT | aws.environment(), directory))
        provision(aws.settings)
        prepared = Stage(directory, aws, aws.settings, _app(aws.settings), resolve_queue_urls(aws.settings))
        stack.callback(prepared.end)
        stack.callback(prepared.app.jobclaim.flush)  # before `prepared.end`, while its tables still exist
        yield prepared


def _app(settings: Settings) -> Any:
    from jobclaim.workers import create_app

    app = create_app(settings)
    app.loader.import_default_modules()
    return app


@contextlib.contextmanager
def _isolated(environment: Mapping[str, str], directory: Path) -> Iterator[None]:
    before, home = dict(os.environ), Path.cwd()
    for name in [name for name in before if name.startswith("JOBCLAIM_")]:
        del os.environ[name]
    os.environ.update(environment, PYTHONPATH=importable(), PYTHONUNBUFFERED="1")
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(home)
        os.environ.clear()
        os.environ.update(before)
