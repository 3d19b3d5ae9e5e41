"""Ordinary Celery tasks that claim their jobs themselves. `JobTask` does the same for you.

The message holds the job's id and nothing else. The delivery that wins the conditional write PENDING -> PROCESSING runs
the body; every other delivery (a duplicate, a message sent again) skips it.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import Task, shared_task

from examples.documents import count_words
from examples.files import existing_file
from jobclaim.jobs import SKIPPED, Job, JobRepo
from jobclaim.settings import Settings

log = structlog.get_logger(__name__)
repo = JobRepo.from_settings(Settings())  # connects on first use, separately in each worker process


@shared_task(bind=True, name="examples.plain_count_words")
def plain_count_words(self: Task, job_id: str) -> dict[str, Any]:
    """Claim the job with the method names that projects with a status column of their own commonly use."""
    claimed, job = repo.conditional_update_status_to_processing(
        job_id=job_id, celery_task_id=self.request.id, expected_status="PENDING"
    )
    if not claimed:
        return dict(SKIPPED)
    try:
        result = _words_of(job)
    except Exception:
        repo.update_status(job_id, "FAILED")  # with the exception that is being handled
        raise
    repo.update_status(job_id, "COMPLETED", result=result)
    return result


@shared_task(name="examples.plain_count_words_short")
def plain_count_words_short(job_id: str) -> dict[str, Any]:
    """Claim the job with ``claim_job``. An exception fails the job: the worker records what the body does not."""
    job = repo.claim_job(job_id)
    if job is None:
        return dict(SKIPPED)
    result = _words_of(job)
    repo.update_status(job_id, "COMPLETED", result=result)
    return result


@shared_task(name="examples.plain_count_words_block")
def plain_count_words_block(job_id: str) -> dict[str, Any] | None:
    """Claim the job for a block, which completes it with the result or fails it with the exception."""
    with repo.claimed(job_id) as job:
        if job is None:
            return dict(SKIPPED)
        job.set_result(_words_of(job.job))
    return None


def submit_words(path: str) -> Job:
    """Write the job first, then send its id: recovery sends lost messages again, but needs the job."""
    job = repo.create_job(plain_count_words.name, {"path": path})
    plain_count_words.apply_async(args=[job.job_id], queue=job.queue)
    return job


def _words_of(job: Job) -> dict[str, Any]:
    counted = count_words(existing_file(job.payload["path"]).read_text(encoding="utf-8"))
    log.info("counted", job_id=job.job_id, words=counted["words"])
    return {"words": counted["words"]}
