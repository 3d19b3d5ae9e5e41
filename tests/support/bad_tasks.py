"""A task that no worker may start with: it wants more time than its queue's visibility timeout allows."""

from __future__ import annotations

from celery import shared_task

from jobclaim.workers import JobTask


@shared_task(base=JobTask, name="bad.too_long", time_limit=40_000)
def too_long() -> None:
    """Never run."""
