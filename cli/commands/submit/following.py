"""Following a job to its end, with each change of its state on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from jobclaim.cli.output import remark
from jobclaim.jobs import Job, JobRepo
from jobclaim.views.lasting import progress_in_words, waits_in_words

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 2.0
"""Seconds between two looks; they grow, because every look at the table costs a read."""


def follow(
    repo: JobRepo,
    job: Job,
    *,
    timeout_ms: int,
    sleep: Callable[[float], None] = time.sleep,
    tell: Callable[[str], None] = remark,
) -> Job:
    """Read the job again and again until it is over, or until the time is; give it as last read."""
    deadline, pause = repo.clock() + timeout_ms, FIRST_PAUSE
    told, far = (job.status, job.attempt), _far(job)
    while job.status.is_open and repo.clock() < deadline:
        sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)
        job = repo.get_job(job.job_id)
        if (job.status, job.attempt) != told:
            told = (job.status, job.attempt)
            tell(_state(job))
        if (now_far := _far(job)) != far and (far := now_far):
            tell(far)
    return job


def _far(job: Job) -> str:
    """How far the job is, or what it waits for; empty where nothing tells."""
    if (wait := job.waiting) is not None:
        return waits_in_words(wait.name, wait.since, wait.until, wait.since)
    return progress_in_words(job.told, job.told.at) if job.told is not None else ""


def _state(job: Job) -> str:
    by = f", by {job.worker_id}" if job.worker_id else ""
    return f"{job.status}, attempt {job.attempt} of {job.max_attempts}{by}"
