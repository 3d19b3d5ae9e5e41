"""Tasks that wait on something else, as on a network."""

from __future__ import annotations

import asyncio
import time

from celery import shared_task

from jobclaim.workers import JobTask


@shared_task(base=JobTask, name="bench.wait_async")
async def wait_async(seconds: float) -> None:
    """Wait in a coroutine."""
    await asyncio.sleep(seconds)


@shared_task(base=JobTask, name="bench.wait")
def wait(seconds: float) -> None:
    """Wait in a blocking call."""
    time.sleep(seconds)
