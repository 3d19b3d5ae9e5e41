"""Tasks for tests that stop, cancel and kill workers; imported by workers beside `tests.support.tasks`."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded

from jobclaim.workers import JobTask
from tests.support.tasks import leave_evidence


@shared_task(base=JobTask, bind=True, name="tests.sleep")
def sleep(self: Any, seconds: float) -> str:
    """Sleep, deaf to everything."""
    leave_evidence(self)
    time.sleep(seconds)
    return "slept"


@shared_task(base=JobTask, bind=True, name="tests.sleep_or_again", on_orphan="retry")
def sleep_or_again(self: Any, seconds: float) -> str:
    """As `sleep`, but may be run again from the start; a second attempt is quick."""
    leave_evidence(self)
    if self.request.job.attempt == 1:
        time.sleep(seconds)
    return "slept"


@shared_task(base=JobTask, bind=True, name="tests.polite")
def polite(self: Any, seconds: float) -> str:
    """Look now and then whether it is wanted, and end by itself."""
    leave_evidence(self)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if self.cancelled:
            return "put away"
        time.sleep(0.05)
    return "done"


@shared_task(base=JobTask, bind=True, name="tests.tidy")
def tidy(self: Any, path: str) -> None:
    """Sleep, and leave a file when it is ended by a signal that lets it."""
    leave_evidence(self)
    try:
        time.sleep(600)
    finally:
        Path(path).write_text("tidied")


@shared_task(base=JobTask, bind=True, name="tests.suicide")
def suicide(self: Any) -> None:
    """End its own process."""
    leave_evidence(self)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(base=JobTask, bind=True, name="tests.suicide_once", on_orphan="retry")
def suicide_once(self: Any) -> str:
    """End its own process in the first attempt."""
    leave_evidence(self)
    if self.request.job.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@shared_task(base=JobTask, bind=True, name="tests.over_hard_limit", time_limit=2, soft_time_limit=1)
def over_hard_limit(self: Any) -> None:
    """Swallow the soft limit."""
    leave_evidence(self)
    while True:
        with contextlib.suppress(SoftTimeLimitExceeded):
            time.sleep(60)


@shared_task(
    base=JobTask, bind=True, name="tests.over_hard_limit_once", time_limit=2, soft_time_limit=1, on_orphan="retry"
)
def over_hard_limit_once(self: Any) -> str:
    """Swallow the soft limit in the first attempt."""
    leave_evidence(self)
    while self.request.job.attempt == 1:
        with contextlib.suppress(SoftTimeLimitExceeded):
            time.sleep(60)
    return "in time"


@shared_task(base=JobTask, bind=True, name="tests.catches_soft_limit", time_limit=30, soft_time_limit=1)
def catches_soft_limit(self: Any) -> str:
    """End in good order at the soft limit."""
    leave_evidence(self)
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "in good order"
    return "never"


@shared_task(base=JobTask, bind=True, name="tests.over_soft_limit", time_limit=30, soft_time_limit=1)
def over_soft_limit(self: Any) -> None:
    """Let the soft limit escape."""
    leave_evidence(self)
    time.sleep(60)


@shared_task(base=JobTask, bind=True, name="tests.process_id")
def process_id(self: Any) -> int:
    """Give the id of the process that ran it."""
    leave_evidence(self)
    return os.getpid()
