"""A child that is killed while it records an outcome, after the pool has written the next job into its pipe."""

from __future__ import annotations

import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

from billiard import current_process
from celery import current_task, shared_task

from jobclaim.workers import JobTask
from jobclaim.workers.pools import next_job
from tests.support.waiting import wait_until

LONGEST_SECONDS = 60.0
backend: Any = import_module("jobclaim.workers.results.backend")
poller: Any = import_module("jobclaim.workers.transport.poller")
poller.ahead_of = lambda *_: 1  # as a worker of short jobs does: a message waits for the only child
record = backend.record_success


def has_next() -> bool:
    """Ask, in case that the next message has come just now, and return whether the pipe has a job."""
    next_job.ask(current_task, current_task.request)
    return bool(current_process().inq._reader.poll(0.05))


def record_or_die(repo: Any, job_id: str, *others: Any) -> Any:
    """Record an outcome; that of the job that is to die never."""
    if current_task.name == "early.dies":
        wait_until(has_next, LONGEST_SECONDS, "the next job is in the pipe")
        os.kill(os.getpid(), signal.SIGKILL)
    return record(repo, job_id, *others)


backend.record_success = record_or_die


def leave_evidence(task: Any) -> None:
    """Note a body."""
    with Path(os.environ["JOBCLAIM_TEST_EVIDENCE"]).open("a") as evidence:
        evidence.write(f"{task.request.job.job_id} {task.request.job.attempt} {os.getpid()}\n")


@shared_task(base=JobTask, bind=True, name="early.dies")
def dies(self: Any) -> None:
    """Return; its child is killed before its outcome is written."""
    leave_evidence(self)


@shared_task(base=JobTask, bind=True, name="early.follows")
def follows(self: Any) -> None:
    """Return."""
    leave_evidence(self)
