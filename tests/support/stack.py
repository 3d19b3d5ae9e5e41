"""A deployment of its own for one test: tables and queues on the shared servers, and real worker processes on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobclaim.jobs import Job, JobRepo, JobStatus
from jobclaim.settings import Settings
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support import quick_stack, warm
from tests.support.endpoints import Endpoint, unique_name
from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_until
from tests.support.warm import WarmProcess

ROOT = Path(__file__).parents[2]
EVIDENCE = "JOBCLAIM_TEST_EVIDENCE"
READY = r"celery@\S+ ready"


@dataclass
class Stack:
    """Tables, queues and settings of one test, and the processes it started.

    Attributes
    ----------
    environment : dict
        What a child process needs to be part of it.
    evidence : Path
        File to which task bodies append a line each (`tests.support.tasks`).
    """

    settings: Settings
    environment: dict[str, str]
    evidence: Path
    log_dir: Path
    repo: JobRepo
    _exits: ExitStack = field(default_factory=ExitStack)

    def worker(self, name: str = "worker", *options: str, env: Mapping[str, str] | None = None) -> ManagedProcess:
        """Start ``celery worker`` with further options and wait until it is ready; it ends with the stack."""
        process = self.celery(name, "worker", *options, env=env)
        process.wait_for_line(READY, 120)
        return process

    def celery(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> ManagedProcess:
        """Start any ``celery -A jobclaim`` command."""
        return self.program(name, "celery", "-A", "jobclaim", *arguments, env=env)

    def program(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> ManagedProcess:
        """Start a module as a program; at the stack's end it is killed: nobody asks what it left."""
        argv = [sys.executable, "-m", *arguments]
        own = {**self.environment, **(env or {})}
        process = WarmProcess(name, argv, log_dir=self.log_dir, env=own, cwd=ROOT, stop_seconds=0)
        return self._exits.enter_context(process)

    def bodies(self) -> Counter[tuple[str, int]]:
        """How often each job's body was started, by job id and attempt."""
        return Counter((row[0], int(row[1])) for row in self.rows())

    def rows(self) -> list[list[str]]:
        """The words of each line of evidence: job id, attempt, process id; not of a line that is being written."""
        text = self.evidence.read_text() if self.evidence.exists() else ""
        return [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def wait_for(self, job_ids: list[str], status: JobStatus, timeout: float) -> dict[str, Job]:
        """Wait until all these jobs are in a state, and give them."""

        def done() -> dict[str, Job] | None:
            jobs = self.repo.table.get_many(job_ids)
            return jobs if all(job.status is status for job in jobs.values()) and len(jobs) == len(job_ids) else None

        found = wait_until(
            done, timeout, lambda: f"{len(job_ids)} jobs are {status}: {self._states(job_ids)}", poll=0.2
        )
        assert found is not None
        return found

    def _states(self, job_ids: list[str]) -> dict[str, int]:
        return dict(Counter(str(job.status) for job in self.repo.table.get_many(job_ids).values()))

    def wait_for_bodies(self, job_ids: Collection[str], timeout: float = 30) -> None:
        """Wait until the bodies of these jobs run."""
        wait_until(lambda: set(job_ids) <= {job_id for job_id, _ in self.bodies()}, timeout, "all bodies run")

    def submitter(self) -> Callable[..., str]:
        """Give a function that writes a job for a task, sends its message ``copies`` times and returns its id."""
        app = create_app(self.settings)

        def submit(task: str, *args: Any, copies: int = 1, **options: Any) -> str:
            job = app.jobclaim.repo.create_job(task, {"args": list(args), "kwargs": {}}, **options)
            for _ in range(copies):
                publish(app, job)
            return str(job.job_id)

        return submit


@contextmanager
def deployed(dynamodb: Endpoint, sqs: Endpoint, log_dir: Path, **overrides: Any) -> Iterator[Stack]:
    """Make a stack of its own on two servers; `overrides` are fields of `Settings`."""
    name = unique_name("t")
    settings = Settings(
        dynamodb_endpoint_url=dynamodb.endpoint_url,
        sqs_endpoint_url=sqs.endpoint_url,
        job_table=f"{name}-jobs",
        fleet_table=f"{name}-fleet",
        queue_prefix=f"{name}-",
        **{"wait_time_seconds": 1, "task_modules": ("tests.support.tasks",), **overrides},
    )
    quick_stack.make(settings)
    evidence = log_dir / "evidence.txt"
    environment = {**os.environ, **variables(settings), EVIDENCE: str(evidence), "PYTHONPATH": str(ROOT)}
    with ExitStack() as exits:
        yield Stack(settings, environment, evidence, log_dir, JobRepo.from_settings(settings), exits)


def jobclaim(environment: Mapping[str, str], *arguments: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    """Run a command line of jobclaim to its end, whatever its exit code."""
    argv = [sys.executable, "-m", "jobclaim", *arguments]
    return warm.run(argv, env=environment, cwd=ROOT, timeout=timeout)


def variables(settings: Settings) -> dict[str, str]:
    """The settings as a child process reads them."""
    fields = settings.model_dump(mode="json", exclude_unset=True)
    return {
        f"JOBCLAIM_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
        if value is not None
    }
