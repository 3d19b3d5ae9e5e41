"""Plain Celery tasks that claim their job themselves, with the words of `JobRepo`."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import current_app, shared_task

from jobclaim.jobs import SKIPPED


@shared_task(bind=True, name="tests.claiming_double")
def claiming_double(self: Any, job_id: str) -> Any:
    """Give back twice the job's ``value``, once."""
    repo = current_app.jobclaim.repo
    job = repo.claim_job(job_id)
    if job is None:
        return dict(SKIPPED)
    with open(os.environ["JOBCLAIM_TEST_EVIDENCE"], "a", encoding="ascii") as evidence:  # noqa: PTH123 - appended to
        evidence.write(f"{job.job_id} {job.attempt} {os.getpid()}\n")
    repo.update_status(job_id, "COMPLETED", result=2 * job.payload["value"])
    return "doubled"


@shared_task(name="tests.plain_time")
def plain_time() -> float:
    """Give back when it ran, in seconds since the epoch."""
    return time.time()
