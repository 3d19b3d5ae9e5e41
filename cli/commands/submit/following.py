"""Follow a job to its end, and write each change of its state to standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from jobclaim.cli.output import remark
from jobclaim.jobs import Job, JobRepo
from jobclaim.jobs.protocol import releases
from jobclaim.views.holds import charged_in_words, hold_in_words
from jobclaim.views.lasting import progress_in_words, waits_in_words

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 2.0
"""Seconds between two reads; the interval grows, because every read is billed."""


def follow(
    repo: JobRepo,
    job: Job,
    *,
    timeout_ms: int,
    sleep: Callable[[float], None] = time.sleep,
    notify: Callable[[str], None] = remark,
) -> Job:
    """Poll the job until it has ended or the timeout has passed; return it as last read."""
    deadline, pause = repo.clock() + timeout_ms, FIRST_PAUSE
    reported, progress = (job.status, job.attempt), _progress(job)
    while job.status.is_open and repo.clock() < deadline:
        sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)
        job = repo.get_job(job.job_id)
        if (job.status, job.attempt) != reported:
            reported = (job.status, job.attempt)
            notify(_state(job))
        if (new_progress := _progress(job)) != progress and (progress := new_progress):
            notify(progress)
    return job


def _progress(job: Job) -> str:
    """Describe the job's progress or what it waits for; empty if neither is known."""
    if (wait := job.waiting) is not None:
        return waits_in_words(wait.name, wait.since, wait.until, wait.since)
    return progress_in_words(job.told, job.told.at) if job.told is not None else ""


def _state(job: Job) -> str:
    by = f", by {job.worker_id}" if job.worker_id else ""
    release = releases.current(job)
    held = f", {hold_in_words(release)}" if release else ""
    return f"{job.status}, {charged_in_words(job.charged, job.max_attempts)} attempts charged{held}{by}"
