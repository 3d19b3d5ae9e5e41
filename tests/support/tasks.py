"""Tasks for tests with real workers: each body leaves a line of evidence before anything else."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import shared_task

from jobclaim.workers import JobTask


def leave_evidence(task: Any) -> None:
    """Append ``job id, attempt, process id`` in one write: lines of several processes do not mix."""
    job = task.request.job
    line = f"{job.job_id} {job.attempt} {os.getpid()}\n".encode()
    descriptor = os.open(os.environ["JOBCLAIM_TEST_EVIDENCE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


@shared_task(base=JobTask, bind=True, name="tests.note")
def note(self: Any, value: int = 0) -> int:
    """Give back twice the value."""
    leave_evidence(self)
    return 2 * value


@shared_task(base=JobTask, bind=True, name="tests.wait_for_file")
def wait_for_file(self: Any, path: str) -> str:
    """Run until a file exists, at most ten minutes."""
    leave_evidence(self)
    deadline = time.monotonic() + 600
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.05)
    return "seen"


@shared_task(base=JobTask, bind=True, name="tests.wait_or_again", on_orphan="retry")
def wait_or_again(self: Any, path: str) -> str:
    """As `wait_for_file`, but an orphan is run again."""
    return str(wait_for_file.run.__func__(self, path))
