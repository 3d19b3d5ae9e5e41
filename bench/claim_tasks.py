"""The same task as a claimed one."""

from __future__ import annotations

from celery import shared_task

from jobclaim.workers import JobTask


@shared_task(base=JobTask, name="bench.nothing")
def nothing(number: int) -> None:
    """Do nothing."""
