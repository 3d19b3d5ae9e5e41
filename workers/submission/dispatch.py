"""Dispatch: send a job's message. The job is written before that; recovery redispatches a lost message."""

from __future__ import annotations

import math
from typing import Any

from celery import Celery

from jobclaim.jobs import Job, StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo import rescue
from jobclaim.workers.messages.envelope import carried
from jobclaim.workers.submission import prebuilt

log = get_logger("jobclaim.dispatch")


def publish(app: Celery, job: Job, delay_seconds: float = 0.0, **options: Any) -> Any:
    """Publish the message of a job's next attempt; return Celery's result handle.

    Parameters
    ----------
    delay_seconds : float
        SQS delays the message for that long, rounded up to whole seconds; at most 900.

    Raises
    ------
    kombu.exceptions.OperationalError, botocore.exceptions.ClientError
        The message was not sent, or its answer was lost.
    """
    seconds = math.ceil(delay_seconds) if delay_seconds > 0 else 0
    if not options and prebuilt.is_sent(app, job, seconds):
        return app.AsyncResult(job.job_id)
    options = {**carried(job.envelope), **options}
    if seconds:
        options["DelaySeconds"] = seconds
    return prebuilt.send(app, job, **options)


def publish_if_due(app: Celery, job: Job, **options: Any) -> Any:
    """Publish unless the job is due too far ahead; a failed send is logged, and recovery repeats it.

    If the send failed, ``handle.unsent`` is true, for callers that can try again sooner.
    """
    if not job.dispatches:
        return app.AsyncResult(job.job_id)
    wait = max(0, job.available_at - app.jobclaim.repo.clock()) / 1000
    try:
        return publish(app, job, wait, **options)
    except Exception as error:  # noqa: BLE001 - after any error the job is written, and recovery sends its message
        log.warning("message.not_sent", error=type(error).__name__, **job.log_context())
        handle = app.AsyncResult(job.job_id)
        handle.unsent = True
        return handle


def publish_if_unsent(app: Celery, job: Job, **options: Any) -> bool:
    """Publish the message of a duplicate that may not have been sent; ``False`` if that failed."""
    try:
        counted = count_if_unsent(app, job)
    except StoreUnavailable as error:
        log.warning("message.not_sent", error=type(error).__name__, **job.log_context())
        return False
    return counted is None or not getattr(publish_if_due(app, counted, **options), "unsent", False)


def count_if_unsent(app: Celery, job: Job) -> Job | None:
    """Count the message of a duplicate that may not have been sent, for the caller to send; ``None`` for no message.

    Of several equal submissions one counts it. Raises `StoreUnavailable`.
    """
    repo = app.jobclaim.repo
    if not lifecycle.may_be_unsent(job, repo.clock(), repo.settings.max_dispatches):
        return None
    if (counted := rescue.dispatch(repo, job)) is not None:
        log.info("job.duplicate_resent", **job.log_context())
    return counted
