"""One body, claimed on either path: by `JobTask`, and by `JobRepo` in plain task code as the guides type it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded

from jobclaim.jobs import SKIPPED, Job, JobRepo
from jobclaim.settings import Settings
from jobclaim.workers import JobTask

repo = JobRepo.from_settings(Settings())


def act(task: Any, job: Job, action: str, value: Any = None) -> Any:
    """Leave a line of evidence, then do what the test wants."""
    _leave_evidence(job)
    match action:
        case "sleep":
            time.sleep(value)
        case "sleep once" if job.attempt == 1:
            time.sleep(value)
        case "stubborn":
            _sleep_through(value)
        case "wait for file":
            while not Path(value).exists():
                time.sleep(0.05)
        case "raise":
            raise ConnectionError(value)
        case "retry" if job.attempt == 1:
            raise task.retry(exc=ConnectionError("not yet"), countdown=value)
    return {"action": action, "attempt": job.attempt}


def _sleep_through(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(SoftTimeLimitExceeded):
            time.sleep(seconds)


def _leave_evidence(job: Job) -> None:
    descriptor = os.open(os.environ["JOBCLAIM_TEST_EVIDENCE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{job.job_id} {job.attempt} {os.getpid()}\n".encode())
    finally:
        os.close(descriptor)


@shared_task(base=JobTask, bind=True, name="both.job", critical=True)
def by_job_task(self: Any, action: str, value: Any = None) -> Any:
    """The worker claims before the body."""
    return act(self, self.request.job, action, value)


@shared_task(bind=True, name="both.plain")
def by_repo(self: Any, job_id: str) -> Any:
    """The body claims, and records its outcomes by hand."""
    claimed, job = repo.conditional_update_status_to_processing(
        job_id=job_id, celery_task_id=self.request.id, expected_status="PENDING"
    )
    if not claimed:
        return SKIPPED
    try:
        result = act(self, job, *job.payload["args"])
    except Exception:
        if repo.get_job(job_id).status == "PROCESSING":
            repo.update_status(job_id, "FAILED")
        raise
    repo.update_status(job_id, "COMPLETED", result=result)
    return result


@shared_task(bind=True, name="both.short")
def by_claim_job(self: Any, job_id: str) -> Any:
    """The body claims with ``claim_job`` of a repo of its own, and leaves what it raises to the worker."""
    own = JobRepo(settings=Settings())
    job = own.claim_job(job_id)
    if job is None:
        return SKIPPED
    result = act(self, job, *job.payload["args"])
    own.update_status(job_id, "COMPLETED", result=result)
    return result


@shared_task(bind=True, name="both.block")
def by_block(self: Any, job_id: str) -> Any:
    """The short way: the block ends the job."""
    with repo.claimed(job_id) as job:
        if job is None:
            return SKIPPED
        job.set_result(act(self, job.job, *job.payload["args"]))
    return None


@shared_task(name="both.never")
def never(customer: str) -> str:
    """Take the argument for a customer, and claim nothing."""
    return customer


@shared_task(name="both.forgets")
def forgets(job_id: str) -> str:
    """Claims, and records nothing."""
    repo.claim_job(job_id)
    return "forgot"


@shared_task(name="both.detached")
def detached(job_id: str) -> str:
    """Claims for work that ends elsewhere."""
    job = repo.claim_job(job_id, detached=True)
    assert job is not None
    return "elsewhere"


@shared_task(name="both.several")
def several(job_ids: list[str], path: str) -> str:
    """Claim several jobs, end the first, and wait with the others."""
    jobs = [job for job_id in job_ids if (job := repo.claim_job(job_id))]
    repo.update_status(jobs[0].job_id, "COMPLETED", result="first")
    for job in jobs:
        _leave_evidence(job)
    while not Path(path).exists():
        time.sleep(0.05)
    for job in jobs[1:]:
        repo.update_status(job.job_id, "COMPLETED", result="rest")
    return "done"
