"""Plain tasks: in a worker of an installed app, the claims of their bodies are supervised too.

A worker gives each its request (`workers.process.request.PlainRequest`) and a ``retry`` that writes before it sends:
Celery's own publishes first, so that the next attempt could meet a job that is still PROCESSING, and be refused.
"""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

from celery import Celery, states
from celery.exceptions import Reject

from jobclaim.jobs import Job, JobCancelled
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.repo import delivery as place
from jobclaim.workers import builtins
from jobclaim.workers.attempt import coroutines
from jobclaim.workers.attempt.body import BodyDelivery
from jobclaim.workers.attempt.closing import answering
from jobclaim.workers.attempt.outcome import refuse_retry
from jobclaim.workers.messages.message import headers
from jobclaim.workers.process.plain_request import of_task
from jobclaim.workers.scope import contained
from jobclaim.workers.submission import timing
from jobclaim.workers.task import JobTask

log = get_logger("jobclaim.worker")


def prepare_tasks(app: Celery) -> None:
    """Prepare the tasks of a worker that is about to start; a second call changes nothing."""
    builtins.guard(app)
    for task in app.tasks.values():
        if not isinstance(task, JobTask) and not isinstance(vars(task).get("retry"), partial):
            coroutines.prepare_instance(task)
            task.Request = of_task(task)
            task.retry = partial(_retry, task, task.retry)
            task.apply_async = partial(_apply_async, task, task.apply_async)
            task.replace = partial(_replace, task, task.replace)


def contain(app: Celery) -> None:
    """Discard what a body's claims set in a child's context when the task ends, as for a `JobTask`."""
    for task in app.tasks.values():
        if not isinstance(task, JobTask) and task.__trace__ is not None:
            task.__trace__ = contained(answering(task.__trace__), task)


def _retry(task: Any, celerys: Any, *args: Any, **options: Any) -> Any:
    """Retry as Celery does; jobs that the body holds return to PENDING before the message is sent."""
    body = place.current()
    if not (isinstance(body, BodyDelivery) and body.is_of(task) and body.open_claims()):
        return celerys(*args, **options)
    positional = dict(zip(("args", "kwargs", "exc"), args, strict=False))
    cause = options.get("exc") or positional.get("exc") or sys.exc_info()[1]
    if isinstance(cause, JobCancelled):
        raise cause
    try:
        with body.retrying(cause):
            return celerys(*args, **options)
    except Reject as rejected:
        refuse_retry(rejected.reason)


def _apply_async(task: Any, celerys: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
    """Send as Celery does. If the body retries and holds jobs, write their retry first, and send its message."""
    body = place.current()
    if not (isinstance(body, BodyDelivery) and body.is_retrying):
        return celerys(args, kwargs, **options)
    now, zone = task.app.jobclaim.repo.clock(), task.app.timezone
    due = timing.due_at(options.get("countdown"), options.get("eta"), now, zone)
    job = body.retry(due)
    if job is None:  # the jobs belong to other tasks: each has its own message, and this one is sent unchanged
        return celerys(args, kwargs, **options)
    return _send(task, celerys, job, args, kwargs, options)


def _replace(task: Any, celerys: Any, *args: Any) -> Any:
    """Replace the task as Celery does: the body's jobs are completed, and the replacement does the rest."""
    task.request.final_state = (states.SUCCESS, None)
    return celerys(*args)


def _send(task: Any, celerys: Any, job: Job, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
    """Send the retry's message for the job's next attempt; SQS, not a worker's memory, holds it until it is due."""
    if not job.dispatches:
        return task.AsyncResult(job.job_id)  # due too far ahead: recovery sends it
    wait = max(0, job.available_at - task.app.jobclaim.repo.clock()) / 1000
    kept = {name: value for name, value in options.items() if name not in ("countdown", "eta", "headers")}
    if wait:
        kept["DelaySeconds"] = math.ceil(wait)
    try:
        return celerys(args, kwargs, headers={**(options.get("headers") or {}), **headers(job)}, **kept)
    except Exception as error:  # noqa: BLE001 - after any error the job is written, and recovery sends its message
        log.warning("message.not_sent", error=type(error).__name__, **job.log_context())
        return task.AsyncResult(job.job_id)
