"""Celery's result backend on the job table: the end of an attempt is its result, there is no second store."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from kombu.exceptions import EncodeError

from jobs import InvalidPayload, Job, JobNotFound, JobStatus
from workers.message import TOKEN, address
from workers.outcome import record_cancelled, record_failure, record_success

STATES = {
    JobStatus.PENDING: states.PENDING,
    JobStatus.PROCESSING: states.STARTED,
    JobStatus.COMPLETED: states.SUCCESS,
    JobStatus.FAILED: states.FAILURE,
    JobStatus.CANCELLED: states.REVOKED,
}


class JobBackend(BaseBackend):
    """Results are jobs. Called by the child on success and failure, and by the main process for what a child cannot tell."""

    persistent = True

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = states.SUCCESS
    ) -> None:
        """Complete the request's job, whether or not the task ignores its result: the job's state is the truth."""
        where, token = _claim(request)
        if where is not None and _saw_cancel(request):
            record_cancelled(self.app.repo, where, token, "it was cancelled, and its task ended by itself")
            self.mark_as_revoked(task_id, request=request)
            return
        if where is not None:
            try:
                record_success(self.app.repo, where, token, result)
            except InvalidPayload as error:
                raise EncodeError(f"the task's return value cannot be stored: {error}") from error
        elif store_result:
            self.store_result(task_id, result, state, request=request)
        if request and request.chord:
            self.on_chord_part_return(request, state, result)

    def _store_result(self, task_id: str, result: Any, state: str, *args: Any, request: Any = None, **_: Any) -> Any:
        """Fail the request's job; a retry was written before its message was sent, other states are not stored."""
        where, token = _claim(request)
        if where is not None and state == states.FAILURE:
            record = record_cancelled if _saw_cancel(request) else record_failure
            record(self.app.repo, where, token, result)
        return result

    def encode_result(self, result: Any, state: str) -> Any:
        """Leave values and exceptions as they are: the job has its own form for both."""
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        try:
            job = self.app.repo.get_job(task_id)
        except JobNotFound:
            return {"status": states.PENDING, "result": None, "traceback": None}
        return _meta(job)


def _meta(job: Job) -> dict[str, Any]:
    result: Any = job.result
    if job.status in (JobStatus.FAILED, JobStatus.CANCELLED) and job.failure:
        module, _, name = job.failure.exception.rpartition(".")
        result = {"exc_type": name or "JobFailed", "exc_message": [job.failure.message], "exc_module": module or "builtins"}
    return {
        "status": STATES[job.status],
        "result": result,
        "traceback": job.failure.traceback if job.failure else None,
        "children": [],
        "date_done": None,
    }


def _saw_cancel(request: Any) -> bool:
    """Whether the body asked `JobTask.cancelled` and was told yes: then its end is the cancel's doing."""
    return bool(getattr(request, "cancel_seen", False))


def _claim(request: Any) -> tuple[str | None, str]:
    """The job that a request holds, and the claim's token; ``None`` for a task that is no job."""
    where = address(request) if request else None
    token = request.get(TOKEN) if where else None
    return (where.job_id, token) if where and token else (None, "")
