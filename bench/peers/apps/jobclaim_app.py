"""jobclaim, its settings from the environment."""

from __future__ import annotations

import os
from typing import Any

import bodies
from celery import shared_task

from jobclaim.settings import Settings
from jobclaim.workers import IdempotentTask, JobTask
from jobclaim.workers.telemetry import logs

BULK = os.environ.get("BENCH_PEER") == "jobclaim-bulk"


@shared_task(base=JobTask, name="bench.nothing")
def nothing(number: int) -> None:
    """Do nothing."""


@shared_task(base=IdempotentTask, name="bench.work", on_orphan="retry")
def work(name: str, seconds: float) -> str:
    """Leave evidence."""
    return str(bodies.work(name, seconds))


def fill(numbers: range) -> None:
    """Submit a call that does nothing for each number, one after another or, as the bulk, all at once."""
    _logging()
    if BULK:
        nothing.submit_many([[number] for number in numbers])
        return
    for number in numbers:
        nothing.delay(number)


def call(name: str, seconds: float) -> str:
    """Submit one call that leaves evidence; tell what the caller got."""
    _logging()
    result: Any = work.delay(name, seconds)
    return f"handle, {result.state}" + (f", {result.result}" if result.state == "SUCCESS" else "")


def _logging() -> None:
    import jobclaim.workers  # noqa: F401 - makes the app

    logs.configure(Settings())
