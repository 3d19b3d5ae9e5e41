"""Tasks for tests of the task layer with real workers: what people write in their task modules."""

from __future__ import annotations

import time
import uuid
from typing import Any

from celery import shared_task

from jobclaim.jobs import JobRepo, RetryPolicy, RetryRule
from jobclaim.jobs.model import Failure, FailureKind
from jobclaim.jobs.repo import rescue
from jobclaim.workers import IdempotentTask, JobTask, with_idempotency
from tests.support.tasks import leave_evidence


@shared_task(base=IdempotentTask, bind=True, name="layer.run_id", idempotency_ttl=10)
def run_id(self: Any, name: str, seconds: float = 1.0) -> str:
    """Give back what no other run gives back."""
    leave_evidence(self)
    time.sleep(seconds)
    return f"{name}-{uuid.uuid4().hex}"


@shared_task(base=IdempotentTask, bind=True, name="layer.hang_once", on_orphan="retry")
def hang_once(self: Any, name: str) -> str:
    """Hang in the first attempt, so that it can be killed."""
    leave_evidence(self)
    if self.request.job.attempt == 1:
        time.sleep(300)
    return f"{name}-{uuid.uuid4().hex}"


@with_idempotency(scope="user", ttl=60)
@shared_task(bind=True, name="layer.export")
def export(self: Any, user_id: int, kind: str = "csv") -> str:
    """A plain shared task, made idempotent per user."""
    leave_evidence(self)
    return f"{user_id}-{kind}-{uuid.uuid4().hex}"


POLICY = RetryPolicy(max_attempts=3, base=1, factor=2, full_jitter=False, rules=(RetryRule((KeyError,)),))


@shared_task(base=JobTask, bind=True, name="layer.fail", retry_policy=POLICY)
def fail(self: Any, error: str) -> None:
    """Fail in every attempt."""
    leave_evidence(self)
    raise {"KeyError": KeyError, "OSError": OSError}[error](f"attempt {self.request.job.attempt}")


@shared_task(
    base=JobTask, bind=True, name="layer.fail_plainly", autoretry_for=(OSError,), retry_backoff=1, retry_jitter=False,
    max_retries=1,
)  # fmt: skip
def fail_plainly(self: Any) -> None:
    """Fail, with nothing but Celery's own options."""
    leave_evidence(self)
    raise OSError("again")


@shared_task(base=JobTask, bind=True, name="layer.change", max_retries=2)
def change(self: Any, number: int, note: str = "") -> list[Any]:
    """Come back once with other arguments."""
    if self.request.retries == 0:
        self.retry(args=(number + 1,), kwargs={"note": "changed"}, countdown=0)
    return [number, note, self.request.retries]


@shared_task(base=JobTask, bind=True, name="layer.usurped", max_retries=2)
def usurped(self: Any) -> None:
    """Ask for a retry when recovery has ended the attempt already."""
    leave_evidence(self)
    job = self.request.job
    failure = Failure(kind=FailureKind.ORPHANED, message="taken away", at=self.app.jobclaim.repo.clock())
    assert rescue.orphan_fail(JobRepo.from_settings(self.app.jobclaim.settings), job, failure)
    self.retry(countdown=0, exc=OSError("too late"))


@shared_task(base=JobTask, bind=True, name="layer.snooze_twice")
def snooze_twice(self: Any) -> list[int]:
    """Be ready the third time."""
    leave_evidence(self)
    if self.request.job.attempt < 3:
        self.snooze(0.5, reason="not ready")
    return [self.request.job.attempt, self.request.job.charged]


@shared_task(base=JobTask, bind=True, name="layer.one_per_key", concurrency_key="key")
def one_per_key(self: Any, key: str, number: int) -> list[float]:
    """Tell from when to when it ran."""
    leave_evidence(self)
    started = time.time()
    time.sleep(0.3)
    return [started, time.time()]


@shared_task(base=JobTask, bind=True, name="layer.rated", rate_limit="2/s", rate_burst=2)
def rated(self: Any, number: int) -> float:
    """Tell when it started."""
    leave_evidence(self)
    return time.time()


@shared_task(base=JobTask, bind=True, name="layer.when")
def when(self: Any) -> float:
    """Tell when it started."""
    leave_evidence(self)
    return time.time()
