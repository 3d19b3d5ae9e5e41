"""The demo's tasks. Each body appends to a file before it does anything, as evidence of how often it ran."""

from __future__ import annotations

import os
import time
from typing import Any, Final

from celery import shared_task

from jobclaim.workers import JobTask

COUNT: Final = "demo.count"
RETRIED_REPORT: Final = "demo.retried_report"
FAILED_REPORT: Final = "demo.failed_report"
WORK_SECONDS: Final = 0.02
LONG_SECONDS: Final = 60.0
"""Longer than any limit of the demo: the first attempt of a report ends only when it is killed."""


@shared_task(base=JobTask, bind=True, name=COUNT, on_orphan="retry")
def count(self: JobTask, evidence: str, number: int) -> dict[str, Any]:
    """Add up the numbers below ``number``, slowly enough for two deliveries to meet."""
    sign(self, evidence)
    time.sleep(WORK_SECONDS)
    return {"attempt": self.request.job.attempt, "sum": sum(range(number))}


@shared_task(base=JobTask, bind=True, name=RETRIED_REPORT, on_orphan="retry")
def retried_report(self: JobTask, evidence: str) -> dict[str, Any]:
    """Write a report that may be retried after a crash."""
    return _report(self, evidence)


@shared_task(base=JobTask, bind=True, name=FAILED_REPORT, on_orphan="fail")
def failed_report(self: JobTask, evidence: str) -> dict[str, Any]:
    """Write a report that stays FAILED after a crash, until a person retries it."""
    return _report(self, evidence)


def sign(task: JobTask, evidence: str) -> None:
    """Append job, attempt, process and worker to the file in one write, which O_APPEND makes atomic."""
    job = task.request.job
    line = f"{job.job_id} {job.attempt} {os.getpid()} {job.worker_id}\n"
    handle = os.open(evidence, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def _report(task: JobTask, evidence: str) -> dict[str, Any]:
    sign(task, evidence)
    attempt = task.request.job.attempt
    if attempt == 1:
        time.sleep(LONG_SECONDS)
    return {"attempt": attempt}
