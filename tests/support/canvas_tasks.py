"""Tasks that are put together: each body leaves a line of evidence first."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from celery import shared_task

from tests.support.tasks import leave_evidence
from workers import JobTask


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


@shared_task(name="canvas.plain_add")
def plain_add(left: int, right: int) -> int:
    """Add, as a plain Celery task."""
    return left + right


@shared_task(name="canvas.plain_fail")
def plain_fail() -> None:
    """Fail, as a plain Celery task."""
    raise Unlucky(8, "plainly")


@shared_task(base=JobTask, bind=True, name="canvas.add_when_told")
def add_when_told(self: Any, left: int, right: int, path: str) -> int:
    """Add as soon as a file exists, at most a minute later."""
    leave_evidence(self)
    deadline = time.monotonic() + 60
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return left + right
