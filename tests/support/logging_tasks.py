"""Tasks that end in every way and tasks that tell what they find in their process; and a host's logging, when asked."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import structlog
from celery import shared_task, signals
from celery.exceptions import Ignore, Reject
from celery.utils.log import get_task_logger

from jobclaim.jobs.storage import resilience
from jobclaim.workers import JobTask

logger = get_task_logger(__name__)
HOST = os.environ.get("HOST_LOGGING", "")
"""Which handlers of Celery's logging signals a host connects here."""


@shared_task(base=JobTask, bind=True, name="logs.end", max_retries=3, soft_time_limit=2, time_limit=20)
def end(self: Any, how: str) -> str:
    """Bind something of its own, then end in one way."""
    structlog.contextvars.bind_contextvars(customer="c-1")
    resilience.retry_until(9_000_000_000_000)
    logger.info("body of %s", how)
    first = self.request.job.attempt == 1
    if how == "failure":
        raise ValueError(how)
    if how == "retry" and first:
        raise self.retry(countdown=1)
    if how == "snooze" and first:
        self.snooze(1)
    if how == "ignore":
        raise Ignore
    if how == "reject":
        raise Reject("no")
    if how == "soft limit":
        time.sleep(15)
    return how


@shared_task(bind=True, name="logs.look")
def look(self: Any, after: str) -> None:
    """Tell what a plain task finds in its process."""
    from opentelemetry.trace import get_current_span

    found = {
        "context": structlog.contextvars.get_contextvars(),
        "insists": resilience._retrying_until.get(),
        "span": get_current_span().get_span_context().is_valid,
    }
    logger.info("look after %s: %s", after, json.dumps(found))


@shared_task(name="logs.plain_failure")
def plain_failure() -> None:
    """Fail as a plain task does."""
    print("printed by a plain task")  # noqa: T201 - as users do
    raise ValueError("plain trouble")


if HOST == "setup_logging":

    @signals.setup_logging.connect
    def set_up(loglevel: int, **_: Any) -> None:
        """Set up everything, in a format of the host's own."""
        handler = logging.FileHandler(os.environ["HOST_LOG"])
        handler.setFormatter(logging.Formatter(f"HOST {loglevel} %(name)s: %(message)s"))
        logging.getLogger().handlers[:] = [handler]
        logging.getLogger().setLevel(loglevel)


if HOST == "keep":
    from celery import current_app

    current_app.conf.worker_hijack_root_logger = False
    current_app.conf.worker_redirect_stdouts = False
    kept = logging.FileHandler(os.environ["HOST_LOG"])
    kept.setFormatter(logging.Formatter("KEPT %(name)s: %(message)s"))
    logging.getLogger().addHandler(kept)

if HOST == "after_setup":

    def _note(which: str, logger: logging.Logger) -> None:
        with Path(os.environ["HOST_LOG"]).open("a") as file:
            file.write(f"{which} {logger.name} {len(logger.handlers)}\n")

    @signals.after_setup_logger.connect
    def after(logger: logging.Logger, **_: Any) -> None:
        """Note the call."""
        _note("logger", logger)

    @signals.after_setup_task_logger.connect
    def after_tasks(logger: logging.Logger, **_: Any) -> None:
        """Note the call."""
        _note("task_logger", logger)
