"""What an attempt checks before others follow it, and what ends the claims that its body left open."""

from __future__ import annotations

from datetime import UTC
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from celery.exceptions import (
    Ignore,
    Retry,
)
from structlog.testing import capture_logs

from jobclaim.jobs import FailureKind, JobStatus, StoreUnavailable
from jobclaim.settings import Settings
from jobclaim.workers.attempt import ending, fence, running
from jobclaim.workers.messages.message import Address
from jobclaim.workers.state import worker
from tests.support.clock import START_MS
from tests.unit.test_attempt_ends import World, world

__all__ = ["world"]  # a fixture

SETTINGS = Settings(_env_file=None)
BROKEN = ValueError("it broke")
APP: Any = SimpleNamespace(timezone=UTC)


def test_an_attempt_whose_lease_is_over_or_whose_job_has_moved_on_has_no_followers(world: World) -> None:
    claim = world.claimed()
    fence.check(world.repo, claim)
    world.clock.advance(claim.lease_ms / 1000 - 0.001)
    fence.check(world.repo, claim)
    world.clock.advance(0.001)
    with pytest.raises(Ignore, match="its lease has ended"):
        fence.check(world.repo, claim)
    with patch.object(running, "is_vouched_for", return_value=True):
        fence.check(world.repo, claim)
        for moved in ({"claim_token": "another"}, {"status": JobStatus.PENDING}):
            found = SimpleNamespace(
                **{"status": JobStatus.PROCESSING, "claim_token": claim.claim_token, "attempt": 2, **moved}
            )
            with patch.object(world.repo, "get_job", return_value=found), pytest.raises(Ignore, match="in attempt 2"):
                fence.check(world.repo, claim)
        world.repo.table.client().delete_item(TableName=SETTINGS.job_table, Key={"job_id": {"S": "j"}})
        with pytest.raises(Ignore, match="no longer exists"):
            fence.check(world.repo, claim)


# --- what a body left open
TASK: Any = SimpleNamespace(name="t", app=SimpleNamespace(timezone=UTC, jobclaim=None), request=SimpleNamespace(id="c"))


@pytest.mark.parametrize(
    ("error", "is_cancelled", "status", "text"),
    [
        (None, False, "FAILED", "returned without recording an outcome"),
        (BROKEN, False, "FAILED", "it broke"),
        (None, True, "CANCELLED", "its body ended by itself"),
        (BROKEN, True, "CANCELLED", "it broke"),
        (Retry(exc=BROKEN), True, "PENDING", "it broke"),
    ],
)
def test_a_claim_that_a_body_left_open_is_ended(
    world: World, error: Any, is_cancelled: bool, status: str, text: str
) -> None:
    claim = world.claimed(max_attempts=2)
    with patch.object(
        type(worker.current()), "is_cancelled", lambda _, token: is_cancelled and token == claim.claim_token
    ):
        ending.end_claim(TASK, world.repo, claim, error, None)
    job = world.job()
    assert job.status == status
    assert text in (job.failure.message if job.failure else "")


def test_a_claim_is_ended_in_the_way_that_its_body_reported_last(world: World) -> None:
    ending.end_claim(TASK, world.repo, world.claimed(), Ignore("x"), ("SUCCESS", 7))
    assert (world.job().status, world.job().result) == (JobStatus.COMPLETED, 7)


def unclaimed(world: World, named: Address | None, *, claims: bool = False) -> None:
    TASK.app.jobclaim = SimpleNamespace(repo=world.repo)
    with patch.object(ending, "claims", return_value=claims):
        ending.end_unclaimed(TASK, named)


def test_a_job_that_its_task_did_not_claim_is_failed_as_a_fault_of_the_task(world: World) -> None:
    world.repo.create_job("t", job_id="j")
    unclaimed(world, None)
    unclaimed(world, Address("j", 0), claims=True)
    assert world.job().status is JobStatus.PENDING
    with capture_logs() as lines:
        unclaimed(world, Address("never", 0))
        with patch.object(world.repo, "claim_job", side_effect=StoreUnavailable("away")):
            unclaimed(world, Address("j", 0))
    assert [line["event"] for line in lines] == ["claim.no_such_job", "claim.unavailable"]
    unclaimed(world, Address("j", 7))
    assert world.job().status is JobStatus.PENDING, "the message is for another attempt"
    with patch.object(world.repo, "claim_job", wraps=world.repo.claim_job) as claim_job:
        unclaimed(world, Address("j", 0))
    asked = claim_job.call_args.kwargs
    assert (asked["worker_id"], asked["celery_task_id"]) == (worker.current().worker_id, "c")
    job = world.job()
    assert (job.status, job.failure and job.failure.kind) == (JobStatus.FAILED, FailureKind.CONFIGURATION)


@pytest.mark.parametrize("options", [{"available_at": START_MS + 3_600_000}, {"task": "another"}])
def test_a_job_that_is_not_due_or_of_another_task_is_left_alone(world: World, options: dict[str, Any]) -> None:
    world.repo.create_job(options.pop("task", "t"), job_id="j", **options)
    unclaimed(world, Address("j", 0))
    assert (world.job().status, world.job().attempt) == (JobStatus.PENDING, 0)
