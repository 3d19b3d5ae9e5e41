"""Where documented commands are run: a project, an embedded AWS as `jobclaim dev` has it, and a worker."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from jobclaim.cli.commands.worker.local import LocalWorker
from jobclaim.fleet.workers import FleetRecords
from jobclaim.infra import local_aws, provision
from jobclaim.jobs import Job, JobRepo
from jobclaim.jobs.clock import system_clock
from jobclaim.settings import QueueSpec, ScheduleSpec, Settings
from tests.support import warm
from tests.support.documented import ROOT
from tests.support.processes import ManagedProcess
from tests.support.stack import READY, variables
from tests.support.warm import WarmProcess

PROJECT = Path(__file__).parents[1] / "fixtures" / "documented"
FORKED = ("jobclaim ", "celery ")
"""Beginnings of the lines that need no shell and no interpreter of their own."""
QUEUES = ("default", "documents", "reports", "email", "emails", "recovery")


@dataclass
class World:
    """One running deployment for all documented commands.

    Attributes
    ----------
    folder : Path
        The user's project, in which every command is typed.
    """

    settings: Settings
    environment: dict[str, str]
    folder: Path
    repo: JobRepo
    _exits: ExitStack = field(default_factory=ExitStack)
    _started: int = 0

    def run(self, *argv: str, answer: str = "", env: Mapping[str, str] | None = None) -> Run:
        """Run a command line of ours to its end."""
        return warm.run(argv, env={**self.environment, **(env or {})}, cwd=self.folder, answer=answer)

    def shell(self, line: str, given: str = "") -> Run:
        """Run any line by a shell, with this on its standard input."""
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, line: str) -> ManagedProcess:
        """Start a line that goes on until a signal; it ends with the world."""
        self._started += 1
        name, log_dir = f"started-{self._started}", self.folder.parent
        kind, argv = (ManagedProcess, ["bash", "-c", f"exec {line}"])
        if line.startswith(FORKED):
            kind, argv = (WarmProcess, shlex.split(line))
        return self._exits.enter_context(kind(name, argv, log_dir=log_dir, env=self.environment, cwd=self.folder))

    @cached_property
    def worker(self) -> ManagedProcess:
        """The README's worker, started when it is first needed."""
        process = self.start("celery -A jobclaim worker -Q default -c 4")
        process.wait_for_line(READY, 120)
        return process

    # --- what a scenario finds when it begins
    def waiting(self, task: str = "shop.charge", queue: str = "reports", minutes: int = 0) -> Job:
        """Make a job that waits, since some minutes; no message is sent, so nobody takes it."""
        repo = JobRepo.from_settings(self.settings, clock=lambda: system_clock() - 60_000 * minutes)
        return repo.create_job(task, {"args": [1], "kwargs": {}}, queue=queue)

    def failed(self, task: str = "shop.charge") -> Job:
        """Make a job that failed for good, by what is told TRANSIENT."""
        job = self.repo.create_job(task, {"args": [1], "kwargs": {}}, queue="reports")
        self.repo.claim_job(job.job_id)
        return self.repo.update_status(job.job_id, "FAILED", error=ConnectionError("the bank is away"))

    def mail(self, *, runs: bool) -> LocalWorker:
        """Give the worker of this machine that is called mail, running or not."""
        worker = LocalWorker.of(self.settings, "mail")
        if runs and worker.pid is None:
            done = self.run("jobclaim", "worker", "start", "mail", "-q", "emails", "-c", "1")
            assert done.returncode == 0, done.stderr
        elif not runs and worker.pid is not None:
            worker.stop(30)
        return worker

    def fleet(self) -> list[str]:
        """Name the workers that have a record."""
        return [record.worker_id for record in FleetRecords.of(self.repo).all()]


Run = subprocess.CompletedProcess[str]


@contextmanager
def documented_world(folder: Path) -> Iterator[World]:
    """Run a world for the length of the block."""
    project = folder / "project"
    _write_project(project)
    base = Settings(
        queues=tuple(QueueSpec(name=name, concurrency=1) for name in QUEUES),
        task_modules=("examples", "tasks", "shop.tasks"),
        schedules={"nightly": ScheduleSpec(task="shop.charge", cron="10 3 * * *", args=(1,))},
        run_dir=str(folder / "run"),
        wait_time_seconds=1,
        polling_interval_seconds=0.1,
        heartbeat_seconds=1,
        index_shards=1,  # each list reads a page of each shard of each queue
    )
    with ExitStack() as exits:
        aws = exits.enter_context(local_aws(base))
        provision(aws.settings)
        environment = os.environ | variables(base) | aws.environment() | _paths() | {"HOME": str(folder)}
        world = World(aws.settings, environment, project, JobRepo.from_settings(aws.settings), exits)
        try:
            yield world
        finally:
            world.mail(runs=False)


def _write_project(project: Path) -> None:
    """Copy the project, with the README's own tasks.py in it."""
    shutil.copytree(PROJECT, project)
    tasks = re.search(r"```python\n# tasks\.py\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tasks, "the README shows no tasks.py"
    (project / "tasks.py").write_text(tasks[1])
    shutil.copy(ROOT / "README.md", project)


def _paths() -> dict[str, str]:
    """Programs of this virtual environment first, as when it is active."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "250",
        "EDITOR": "sed -i s/1/2/",
        "PYTHONUNBUFFERED": "1",
    }
