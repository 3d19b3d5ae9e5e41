"""Tasks for workers with threads and for ``async def`` bodies, on both paths."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded

from jobclaim import JobCancelled, check_cancelled
from jobclaim.jobs import SKIPPED, JobRepo
from jobclaim.settings import Settings
from jobclaim.workers import JobTask
from tests.support.both_paths import _leave_evidence

repo = JobRepo.from_settings(Settings())


async def _waiting(until: float | str) -> None:
    if not isinstance(until, str):
        await asyncio.sleep(until)
        return
    while not Path(until).exists():
        await asyncio.sleep(0.2)


@shared_task(base=JobTask, bind=True, name="threads.wait")
async def wait(self: Any, until: float | str) -> str:
    """Wait some seconds, or until a file exists, and say so."""
    _leave_evidence(self.request.job)
    await _waiting(until)
    return f"waited in attempt {self.request.job.attempt}"


@shared_task(base=JobTask, bind=True, name="threads.wait_again", on_orphan="retry")
async def wait_again(self: Any, seconds: float) -> str:
    """As `wait`, but a first attempt that was cut off is followed by a quick one."""
    _leave_evidence(self.request.job)
    if self.request.job.attempt == 1:
        await asyncio.sleep(seconds)
    return f"waited in attempt {self.request.job.attempt}"


@shared_task(bind=True, name="threads.claim")
async def claim(self: Any, job_id: str) -> Any:
    """Claim in the body, which awaits."""
    with repo.claimed(job_id) as job:
        if job is None:
            return SKIPPED
        _leave_evidence(job.job)
        await _waiting(job.payload["args"][0])
        job.set_result("claimed by hand")
    return None


@shared_task(base=JobTask, bind=True, name="threads.block")
def block(self: Any, path: str) -> str:
    """Block in a call that nothing can interrupt, until a file exists."""
    _leave_evidence(self.request.job)
    while not Path(path).exists():
        time.sleep(0.05)
    return "blocked"


@shared_task(base=JobTask, bind=True, name="threads.block_again", on_orphan="retry")
def block_again(self: Any, path: str) -> str:
    """As `block`; a second attempt is quick."""
    _leave_evidence(self.request.job)
    while self.request.job.attempt == 1 and not Path(path).exists():
        time.sleep(0.05)
    return "blocked"


@shared_task(base=JobTask, bind=True, name="threads.ask")
def ask(self: Any, seconds: float) -> str:
    """Ask now and then whether to end."""
    _leave_evidence(self.request.job)
    return _asking(seconds)


@shared_task(bind=True, name="threads.ask_claimed")
def ask_claimed(self: Any, job_id: str) -> Any:
    """The same, with a claim of its own."""
    with repo.claimed(job_id) as job:
        if job is None:
            return SKIPPED
        _leave_evidence(job.job)
        job.set_result(_asking(job.payload["args"][0]))
    return None


def _asking(seconds: float) -> str:
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            check_cancelled()
            time.sleep(0.05)
    except SoftTimeLimitExceeded:
        return "cut short"
    return "not asked to end"


@shared_task(base=JobTask, bind=True, name="threads.tidy")
async def tidy(self: Any, path: str) -> str:
    """Wait; when cut short, leave a file that says by what."""
    _leave_evidence(self.request.job)
    try:
        await asyncio.sleep(600)
    except (asyncio.CancelledError, SoftTimeLimitExceeded, JobCancelled) as error:
        Path(path).write_text(type(error).__name__)
        if isinstance(error, SoftTimeLimitExceeded):
            return "cut short"
        raise
    return "slept"


@shared_task(base=JobTask, bind=True, name="threads.retry")
async def retry(self: Any, _: str = "") -> Any:
    """Retry once from within the coroutine."""
    _leave_evidence(self.request.job)
    await asyncio.sleep(0)
    if self.request.job.attempt == 1:
        raise self.retry(exc=ConnectionError("not yet"), countdown=0)
    return self.request.job.attempt


@shared_task(base=JobTask, bind=True, name="threads.raise")
async def fails(self: Any, text: str) -> None:
    """Raise after a wait."""
    _leave_evidence(self.request.job)
    await asyncio.sleep(0)
    raise ConnectionError(text)


@shared_task(base=JobTask, bind=True, name="threads.exit")
def leaves(self: Any, _: str = "") -> None:
    """Raise what would end a process."""
    _leave_evidence(self.request.job)
    raise SystemExit(3)


@shared_task(base=JobTask, bind=True, name="threads.forgot")
def forgot(self: Any, seconds: float) -> Any:
    """Return a coroutine by mistake."""
    _leave_evidence(self.request.job)
    return asyncio.sleep(seconds)


@shared_task(base=JobTask, bind=True, name="threads.ask_slowly")
def ask_slowly(self: Any, seconds: float) -> str:
    """As `ask`, with the limits of its queue."""
    _leave_evidence(self.request.job)
    return _asking(seconds)


@shared_task(base=JobTask, bind=True, name="threads.block_asks")
def block_asks(self: Any, path: str) -> str:
    """As `block`, and ask whether to end when nothing blocks any more."""
    _leave_evidence(self.request.job)
    while not Path(path).exists():
        time.sleep(0.05)
    self.check_cancelled()
    return "blocked"
