"""jobclaim, its settings from the environment."""

from __future__ import annotations

import os
from typing import Any

import bodies
from celery import shared_task

from jobclaim.jobs import JobRepo
from jobclaim.settings import Settings
from jobclaim.workers import IdempotentTask
from jobclaim.workers.telemetry import logs

PEER = os.environ.get("BENCH_PEER")
repo = JobRepo.from_settings(Settings())


@shared_task(base=IdempotentTask, name="bench.nothing", on_orphan="retry")
def nothing(number: int) -> None:
    """Do nothing."""


@shared_task(name="bench.claims_nothing", ignore_result=True)
def claims_nothing(job_id: str) -> None:
    """Claim a job, do nothing and complete it."""
    if repo.claim_job(job_id) is not None:
        repo.update_status(job_id, "COMPLETED")


@shared_task(base=IdempotentTask, name="bench.work", on_orphan="retry")
def work(name: str, seconds: float) -> str:
    """Leave evidence."""
    return str(bodies.work(name, seconds))


def fill(numbers: range) -> None:
    """Submit a call that does nothing for each number, one after another or, as the bulk, all at once."""
    _logging()
    if PEER == "jobclaim-bulk":
        nothing.submit_many([[number] for number in numbers])
    elif PEER == "jobclaim-claims":
        for number in numbers:
            claims_nothing.delay(repo.create_job(claims_nothing.name, {"number": number}).job_id)
    else:
        for number in numbers:
            nothing.delay(number)


def call(name: str, seconds: float) -> str:
    """Submit one call that leaves evidence; tell what the caller got."""
    _logging()
    result: Any = work.delay(name, seconds)
    return f"handle, {result.state}" + (f", {result.result}" if result.state == "SUCCESS" else "")


def _logging() -> None:
    from jobclaim import app  # noqa: F401 - sends what is submitted

    logs.configure(Settings())
