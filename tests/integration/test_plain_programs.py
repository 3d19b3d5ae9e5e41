"""The programs of the guides that claim in plain task code, as they stand, on a worker that is killed under them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobclaim.jobs import FailureKind, JobStatus
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.integration.test_lost_workers import recovering
from tests.support.endpoints import Endpoint
from tests.support.processes import ManagedProcess
from tests.support.stack import ROOT, Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
TASKS = ("documents.plain", "documents.process", "documents.process_block")
WORK = '''
def work(payload):
    """What the guide leaves to its reader: as long as the file waits in a pipe, so does the body."""
    with open(payload["path"]) as lines:
        return {"words": len(lines.read().split())}
'''


def blocks() -> list[str]:
    """Read what README and the migration guide show in Python."""
    readme, guide = (ROOT / "README.md").read_text(), (ROOT / "docs" / "migration.md").read_text()
    return [block for text in (readme, guide) for block in re.findall(r"```python\n(.*?)```", text, re.S)]


def programs() -> str:
    """Join the guides' own lines: README's plain way, and the two of the migration guide.

    README's own `documents.process` is a `JobTask`. Two shared tasks of one name must not stand in one module: Celery
    keeps them in a set, so that either may be the one that is registered.
    """
    plain = [block for block in blocks() if "JobTask" not in block and any(f'"{name}"' in block for name in TASKS)]
    return "\n\n".join([*plain, WORK])


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Stack]:
    folder = tmp_path / "guide"
    folder.mkdir()
    (folder / "guide_tasks.py").write_text(programs())
    limits = {"heartbeat_seconds": 2, "worker_dead_after_seconds": 8, "recovery_interval_seconds": 2}
    with deployed(
        dynamodb_local, elasticmq, tmp_path, task_modules=("guide_tasks",), run_dir=str(tmp_path), **limits
    ) as made:
        made.environment["PYTHONPATH"] = f"{folder}{os.pathsep}{ROOT}"
        yield made


def submitted(stack: Stack, path: Path, task: str, *, named: bool) -> str:
    """Submit a job; its message is jobclaim's, or the one that a guide's reader sends himself."""
    app = create_app(stack.settings)
    job = app.jobclaim.repo.create_job(task, {"path": str(path)})
    if named:
        publish(app, job)
    else:
        app.send_task(task, args=[job.job_id], queue=job.queue)
    return str(job.job_id)


def both_ways(stack: Stack, path: Path) -> list[str]:
    return [submitted(stack, path, task, named=named) for task in TASKS for named in (True, False)]


def submitted_by_readme(stack: Stack, path: Path) -> str:
    """Submit a job by README's lines, in a program that has no app of its own."""
    (lines,) = (block for block in blocks() if "process.delay(" in block)
    program = f"from guide_tasks import process, repo\n{lines}\nprint(job.job_id)".replace("tasks.py", str(path))
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, env=stack.environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def started(stack: Stack) -> ManagedProcess:
    return stack.worker("worker", "-c", "6", "-Q", "default")


def test_the_programs_complete_and_fail_their_jobs(stack: Stack, tmp_path: Path) -> None:
    started(stack)
    there = tmp_path / "letter.txt"
    there.write_text("three words here")
    ids = [*both_ways(stack, there), submitted_by_readme(stack, there)]
    done = stack.wait_for(ids, JobStatus.COMPLETED, 40)
    assert {str(job.result) for job in done.values()} == {"{'words': 3}"}
    failed = stack.wait_for(both_ways(stack, tmp_path / "nowhere"), JobStatus.FAILED, 40)
    assert {job.failure.exception for job in failed.values() if job.failure} == {"FileNotFoundError"}
    assert all(job.failure and "open(" in job.failure.traceback for job in failed.values())


def test_the_programs_jobs_survive_a_killed_worker(stack: Stack, tmp_path: Path) -> None:
    worker = started(stack)
    os.mkfifo(tmp_path / "pipe")
    ids = both_ways(stack, tmp_path / "pipe")
    stack.wait_for(ids, JobStatus.PROCESSING, 40)
    wait_until(lambda: worker.log().count('"event": "claim.acquired"') == len(ids), 30, "all are claimed")
    with recovering(stack.settings):
        worker.send(signal.SIGKILL)
        jobs = stack.wait_for(ids, JobStatus.FAILED, 40)
    assert {job.failure.kind for job in jobs.values() if job.failure} == {FailureKind.ORPHANED}
    assert all(job.worker_id and job.celery_task_id for job in jobs.values())
