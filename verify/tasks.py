"""The tasks of a run. Each body records its start and its end, and returns a result that depends only on its arguments.

A result also contains its attempt, so a result that another attempt wrote is recognized.
"""

from __future__ import annotations

import os
import time
from typing import Any, Final

from celery import current_app, shared_task

from jobclaim import SKIPPED, IdempotentTask, Job, JobTask, RetryPolicy
from jobclaim.verify.values import EVIDENCE, MOST_ATTEMPTS, value_of

QUICK_RETRY: Final = RetryPolicy(max_attempts=6, base=0.2, factor=2, ceiling=2, full_jitter=False)
CONCURRENCY_LIMIT: Final = 2
"""Bodies of `limited` that may run at once."""
Result = dict[str, int]


class ServiceDown(Exception):
    """Raised by a body that is meant to fail."""


def record(what: str, task: str, job: Job) -> None:
    """Append a line of evidence in one write: lines of several processes do not mix."""
    at = time.time_ns() // 1_000_000
    line = f"{what} {at} {job.job_id} {job.attempt} {job.claim_token} {os.getpid()} {task}\n"
    descriptor = os.open(os.environ[EVIDENCE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def work(task: str, job: Job, number: int, seconds: float) -> Result:
    """Do the work of a body: record its start, take some time, record its end, and return its result."""
    record("start", task, job)
    time.sleep(seconds)
    record("end", task, job)
    return {"value": value_of(number), "attempt": job.attempt}


@shared_task(base=JobTask, bind=True, name="verify.quick")
def quick(self: Any, number: int, seconds: float, fails: int = 0, secret: str = "") -> Result:
    """Run for an instant. An orphaned job of this task fails."""
    return work(self.name, self.request.job, number, seconds)


@shared_task(base=JobTask, bind=True, name="verify.fragile", on_orphan="fail")
def fragile(self: Any, number: int, seconds: float, fails: int = 0, secret: str = "") -> Result:
    """Run long enough to be interrupted. An orphaned job of this task fails."""
    return work(self.name, self.request.job, number, seconds)


@shared_task(base=JobTask, bind=True, name="verify.slow", on_orphan="retry", max_retries=MOST_ATTEMPTS - 1)
def slow(self: Any, number: int, seconds: float, fails: int = 0, secret: str = "") -> Result:
    """Run long enough to be interrupted. An orphaned job of this task is retried."""
    return work(self.name, self.request.job, number, seconds)


@shared_task(base=JobTask, bind=True, name="verify.flaky", on_orphan="retry", retry_policy=QUICK_RETRY)
def flaky(self: Any, number: int, seconds: float, fails: int = 0, secret: str = "") -> Result:
    """Fail in the first attempts."""
    result = work(self.name, self.request.job, number, seconds)
    if self.request.job.charged <= fails:
        raise ServiceDown(f"attempt {self.request.job.attempt}")
    return result


@shared_task(
    base=JobTask,
    bind=True,
    name="verify.doomed",
    on_orphan="retry",
    retry_policy=RetryPolicy(max_attempts=2, base=0.2),
    failure_kinds={ServiceDown: "EXTERNAL"},
    dead_letters={"EXTERNAL": {"retries": 1, "after_seconds": 3, "factor": 1}},
)
def doomed(self: Any, number: int, seconds: float, fails: int = 0, secret: str = "") -> Result:
    """Always fail: in both attempts, and in the one that the dead-letter rule adds."""
    work(self.name, self.request.job, number, seconds)
    raise ServiceDown(f"attempt {self.request.job.attempt}")


@shared_task(base=IdempotentTask, bind=True, name="verify.once", on_orphan="retry", retry_policy=QUICK_RETRY)
def once(self: Any, number: int, seconds: float, fails: int = 0, secret: str = "") -> Result:
    """Run once for all equal calls, which are one job."""
    return work(self.name, self.request.job, number, seconds)


@shared_task(
    base=JobTask,
    bind=True,
    name="verify.limited",
    on_orphan="retry",
    max_retries=MOST_ATTEMPTS - 1,
    concurrency_key=lambda *_args, **_kwargs: "all",
    concurrency_limit=CONCURRENCY_LIMIT,
)
def limited(self: Any, number: int, seconds: float, fails: int = 0, secret: str = "") -> Result:
    """Run under a concurrency limit of the whole fleet."""
    return work(self.name, self.request.job, number, seconds)


@shared_task(base=JobTask, bind=True, name="verify.first", on_orphan="retry", max_retries=MOST_ATTEMPTS - 1)
def first(self: Any, number: int, seconds: float) -> Result:
    """Run as the first step of a chain."""
    return work(self.name, self.request.job, number, seconds)


@shared_task(base=JobTask, bind=True, name="verify.then", on_orphan="retry", max_retries=MOST_ATTEMPTS - 1)
def then(self: Any, before: Result) -> Result:
    """Run as the second step of a chain; the result is computed from that of the first."""
    return work(self.name, self.request.job, before["value"], 0)


@shared_task(base=JobTask, bind=True, name="verify.all", on_orphan="retry", max_retries=MOST_ATTEMPTS - 1)
def gather(self: Any, before: list[Result]) -> Result:
    """Run as the body of a chord; the result is computed from those of all members."""
    return work(self.name, self.request.job, sum(one["value"] for one in before), 0)


@shared_task(base=JobTask, bind=True, name="verify.durable", on_orphan="retry", retry_policy=QUICK_RETRY)
def durable(self: Any, number: int, table: str) -> dict[str, Any]:
    """Run a step, fail once, wait for a resume, and add to a counter with the completion."""
    job = self.request.job
    self.step("once", lambda: record("step", self.name, job))
    self.progress(job.charged, 2, flush=True)
    if job.charged == 1 and not job.history:
        raise ServiceDown("after the step")
    answer = self.wait_for("answer", timeout=120)
    self.effects.update(
        TableName=table,
        Key={"name": job.job_id},
        UpdateExpression="ADD times :one",
        ExpressionAttributeValues={":one": 1},
    )
    return {**work(self.name, job, number, 0), "answer": answer}


@shared_task(base=JobTask, bind=True, name="verify.tick")
def tick(self: Any) -> Result:
    """Run by the schedule."""
    return work(self.name, self.request.job, 0, 0)


@shared_task(base=JobTask, bind=True, name="verify.trap")
def trap(self: Any, *_args: Any, **_kwargs: Any) -> Result:
    """Run only if a forged message could choose the task of a job, which must not happen."""
    return work(self.name, self.request.job, 0, 0)


@shared_task(name="verify.plain")
def plain(job_id: str) -> Any:
    """Claim in plain task code: the other of the two paths."""
    repo = current_app.jobclaim.repo
    with repo.claimed(job_id) as claim:
        if claim is None:
            return SKIPPED
        job = claim.job
        claim.set_result(work("verify.plain", job, job.payload["number"], job.payload["seconds"]))
    return None
