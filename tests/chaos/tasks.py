"""The bodies: each leaves a line of evidence before anything else, and gives a result that only its arguments decide.

A result names its attempt too: one that another attempt wrote is told from the current one's.
"""

from __future__ import annotations

import os
import time
from typing import Any, Final

from celery import shared_task

from jobclaim.jobs import RetryPolicy
from jobclaim.workers import IdempotentTask, JobTask
from tests.chaos.values import value_of

EVIDENCE: Final = "JOBCLAIM_TEST_EVIDENCE"
AT_ONCE: Final = RetryPolicy(max_attempts=6, base=0.2, factor=2, ceiling=2, full_jitter=False)
MOST_ATTEMPTS: Final = 6


class ServiceDown(Exception):
    """What a body raises when it fails by itself."""


def leave_evidence(task: Any) -> None:
    """Append ``job id, attempt, claim token, process id`` in one write: lines of several processes do not mix."""
    job = task.request.job
    line = f"{job.job_id} {job.attempt} {job.claim_token} {os.getpid()}\n".encode()
    descriptor = os.open(os.environ[EVIDENCE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def work(task: Any, number: int, seconds: float) -> dict[str, int]:
    """Do what a body does."""
    leave_evidence(task)
    time.sleep(seconds)
    return {"value": value_of(number), "attempt": task.request.job.attempt}


@shared_task(base=JobTask, bind=True, name="chaos.quick")
def quick(self: Any, number: int, seconds: float, fails: int = 0) -> dict[str, int]:
    """A blink. An orphan fails."""
    return work(self, number, seconds)


@shared_task(base=JobTask, bind=True, name="chaos.fragile", on_orphan="fail")
def fragile(self: Any, number: int, seconds: float, fails: int = 0) -> dict[str, int]:
    """Long enough to be cut off. An orphan fails."""
    return work(self, number, seconds)


@shared_task(base=JobTask, bind=True, name="chaos.slow", on_orphan="retry", max_retries=MOST_ATTEMPTS - 1)
def slow(self: Any, number: int, seconds: float, fails: int = 0) -> dict[str, int]:
    """Long enough to be cut off. An orphan is run again."""
    return work(self, number, seconds)


@shared_task(base=JobTask, bind=True, name="chaos.flaky", on_orphan="retry", retry_policy=AT_ONCE)
def flaky(self: Any, number: int, seconds: float, fails: int = 0) -> dict[str, int]:
    """Fails by itself first."""
    result = work(self, number, seconds)
    if self.request.job.charged <= fails:
        raise ServiceDown(f"attempt {self.request.job.attempt}")
    return result


@shared_task(
    base=JobTask,
    bind=True,
    name="chaos.doomed",
    on_orphan="retry",
    retry_policy=RetryPolicy(max_attempts=2, base=0.2),
    failure_kinds={ServiceDown: "EXTERNAL"},
    dead_letters={"EXTERNAL": {"retries": 1, "after_seconds": 3, "factor": 1}},
)
def doomed(self: Any, number: int, seconds: float, fails: int = 0) -> dict[str, int]:
    """Fails whatever is done: both its attempts, and the one that the dead-letter rule adds."""
    work(self, number, seconds)
    raise ServiceDown(f"attempt {self.request.job.attempt}")


@shared_task(base=IdempotentTask, bind=True, name="chaos.once", on_orphan="retry", retry_policy=AT_ONCE)
def once(self: Any, number: int, seconds: float, fails: int = 0) -> dict[str, int]:
    """Equal calls are one job."""
    return work(self, number, seconds)


@shared_task(base=JobTask, bind=True, name="chaos.first", on_orphan="retry", max_retries=MOST_ATTEMPTS - 1)
def first(self: Any, number: int, seconds: float) -> dict[str, int]:
    """The first step of a chain."""
    return work(self, number, seconds)


@shared_task(base=JobTask, bind=True, name="chaos.then", on_orphan="retry", max_retries=MOST_ATTEMPTS - 1)
def then(self: Any, before: dict[str, int]) -> dict[str, int]:
    """The second step: its value is made of the first one's."""
    return work(self, before["value"], 0)
