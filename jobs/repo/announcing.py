"""What the process that recorded a job's end publishes about it: a log event, the user's hooks, the fleet's counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobclaim.jobs.failures import dead, hooks
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.repo.store import Store

log = get_logger("jobclaim.jobs")


def announce_failure(repo: Store, job: Job) -> None:
    """Call the user's hooks for a failed job, and count some failures for the fleet. Counted are failures of critical
    tasks and those that end an automatic retry, with one write.
    """
    if job.status is not JobStatus.FAILED:
        return
    counted, notes = _of_retry(job), {}
    if dead.is_critical(job, repo.settings):
        counted, notes = counted | {"critical": 1}, {"last_task": job.task, "last_job": job.job_id}
    if counted:
        repo.counts.add(counted, notes)
    hooks.call_hooks(job)


def announce_end(repo: Store, job: Job) -> None:
    """Log how an attempt ended, then announce a failure as `announce_failure` does."""
    duration = (job.finished_at - job.claimed_at) / 1000
    if job.status is JobStatus.CANCELLED:
        log.warning("job.cancelled", duration_seconds=duration, **job.log_context())
    elif job.failure is not None:
        failure = {"kind": str(job.failure.kind), "exception": job.failure.exception}
        log.error("job.failed", duration_seconds=duration, **failure, **job.log_context())
    else:
        announce_completion(job.finished_at - job.claimed_at, job.log_context())
        if healed := _of_retry(job):
            repo.counts.add(healed)
    announce_failure(repo, job)


def announce_completion(duration_ms: int, context: Mapping[str, Any]) -> None:
    """Log that a job was completed; ``context`` are its fields of log lines."""
    log.info("job.completed", duration_seconds=duration_ms / 1000, **context)


def _of_retry(job: Job) -> dict[str, int]:
    """Return what the end of a dead letter's automatic retry adds to the fleet's counts; nothing for other jobs."""
    if not job.dead_retries:
        return {}
    return {"healed" if job.status is JobStatus.COMPLETED else "failed_again": 1}
