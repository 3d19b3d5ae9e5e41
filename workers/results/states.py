"""States that a task sets itself: progress of a running job, and an abort, which is a cancel."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.contrib.abortable import ABORTED

from jobclaim.jobs import Job, JobNotFound, JobStatus
from jobclaim.jobs.repo import delivery
from jobclaim.jobs.repo.running import Running
from jobclaim.workers.attempt.body import BodyDelivery
from jobclaim.workers.messages.message import TOKEN, address
from jobclaim.workers.state import worker


def take(app: Any, task_id: str, state: str, meta: Any, request: Any) -> bool:
    """Accept a state that Celery does not know; ``False`` if this process has not claimed a job of that id."""
    if state in states.ALL_STATES:
        return False
    if state == ABORTED:
        return _cancel(app, task_id)
    if (run := _run_of(app, task_id, request)) is None:
        return False
    run.update_state(state, meta)
    return True


def with_abort(meta: dict[str, Any], job: Job) -> dict[str, Any]:
    """Report an abort as `celery.contrib.abortable` reads it, in the worker of the job that is to be cancelled."""
    requested = job.status is JobStatus.PROCESSING and worker.current().is_cancelled(job.claim_token)
    return {**meta, "status": ABORTED} if requested else meta


def _cancel(app: Any, task_id: str) -> bool:
    try:
        app.control.revoke(task_id)
    except JobNotFound:
        return False
    return True


def _run_of(app: Any, task_id: str, request: Any) -> Running | None:
    """Return the running job with this id if this process has claimed it, else ``None``."""
    where = address(request) if request else None
    token = request.get(TOKEN) if where else None
    if where is not None and where.job_id == task_id and token and getattr(request, "job", None) is not None:
        found: Running = app.jobclaim.repo.running(task_id, token=token)
        return found
    current = delivery.current()
    held = current.open_claims() if isinstance(current, BodyDelivery) else []
    return next(
        (repo.running(task_id, token=claim.claim_token) for repo, claim in held if claim.job_id == task_id), None
    )
