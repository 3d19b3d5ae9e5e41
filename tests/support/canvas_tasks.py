"""Tasks that are put together: each body leaves a line of evidence first."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from celery import shared_task

from jobclaim.workers import JobTask
from tests.support.tasks import leave_evidence


class Unlucky(Exception):
    """Has two arguments, so that a message alone cannot make it."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(code, words)


@shared_task(base=JobTask, bind=True, name="canvas.add")
def add(self: Any, left: int, right: int) -> int:
    """Add."""
    leave_evidence(self)
    return left + right


@shared_task(base=JobTask, bind=True, name="canvas.total")
def total(self: Any, numbers: list[int], more: int = 0) -> int:
    """Add up."""
    leave_evidence(self)
    return sum(numbers) + more


@shared_task(base=JobTask, bind=True, name="canvas.fail")
def fail(self: Any, *_: Any) -> None:
    """Fail with an error of a class of its own."""
    leave_evidence(self)
    raise Unlucky(7, "as it had to be")


@shared_task(base=JobTask, bind=True, name="canvas.add_at_second_try", default_retry_delay=0)
def add_at_second_try(self: Any, left: int, right: int) -> int:
    """Add, but not at once."""
    leave_evidence(self)
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return left + right


@shared_task(base=JobTask, bind=True, name="canvas.note_error")
def note_error(self: Any, failed_id: str, path: str) -> str:
    """Error callback: write down whose error it was."""
    leave_evidence(self)
    with Path(path).open("a") as file:
        file.write(f"{failed_id}\n")
    return failed_id


@shared_task(base=JobTask, bind=True, name="canvas.add_after_a_crash", on_orphan="retry")
def add_after_a_crash(self: Any, left: int, right: int) -> int:
    """Add; the first attempt's process is killed, as the kernel does when memory is short."""
    leave_evidence(self)
    if self.request.job.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return left + right


@shared_task(base=JobTask, bind=True, name="canvas.crash")
def crash(self: Any, *_: Any) -> None:
    """Have the process killed."""
    leave_evidence(self)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(name="canvas.plain_add")
def plain_add(left: int, right: int) -> int:
    """Add, as a plain Celery task."""
    return left + right


@shared_task(name="canvas.plain_fail")
def plain_fail() -> None:
    """Fail, as a plain Celery task."""
    raise Unlucky(8, "plainly")
