"""How an outcome is written: with what, as which kind of failure, and what follows a refusal."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from celery.exceptions import (
    Ignore,
    Reject,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    WorkerLostError,
)

from jobclaim.jobs import Effects, FailureKind, Job, JobStatus, StoreUnavailable
from jobclaim.jobs.model import Failure
from jobclaim.workers.attempt import outcome
from jobclaim.workers.attempt.outcome import kind_of, refuse_retry
from jobclaim.workers.submission.typed import CallDoesNotFit
from tests.unit.test_attempt_ends import World, world

__all__ = ["world"]  # a fixture
BROKEN = ValueError("it broke")


def test_a_success_keeps_its_time_to_live_and_a_fault_says_which(world: World) -> None:
    claim = world.claimed()
    with patch.object(world.repo, "update_status", return_value=world.job()) as update:
        outcome.record_success(world.repo, "j", claim.claim_token, 1, 30)
        outcome.record_success(world.repo, "j", claim.claim_token, 1, effects=(), beside=[claim])
        outcome.record_failure(world.repo, "j", claim.claim_token, SoftTimeLimitExceeded())
        outcome.record_cancelled(world.repo, "j", claim.claim_token, "enough")
        outcome.record_fault(world.repo, "j", claim.claim_token, "no JobTask")
    asked = [{**one.kwargs, "status": one.args[1]} for one in update.call_args_list]
    assert [one.pop("token") for one in asked] == [claim.claim_token] * 5
    assert (asked[0], asked[1]) == (
        {"status": JobStatus.COMPLETED, "result": 1, "ttl": 30},
        {"status": JobStatus.COMPLETED, "result": 1, "ttl": None},
    )
    assert [(one["status"], one["kind"]) for one in asked[2:]] == [
        (JobStatus.FAILED, FailureKind.TIMEOUT),
        (JobStatus.CANCELLED, FailureKind.CANCELLED),
        (JobStatus.FAILED, FailureKind.CONFIGURATION),
    ]
    assert asked[4]["error"] == "no JobTask"


def test_effects_are_recorded_with_the_completion(world: World) -> None:
    claim, effects = world.claimed(), Effects()
    effects.put(TableName="mine", Item={"id": 1})
    with patch.object(world.repo, "update_status", return_value=world.job()) as update:
        outcome.record_success(world.repo, "j", claim.claim_token, 1, effects=effects, beside=[claim])
    assert (update.call_args.kwargs["effects"], update.call_args.kwargs["beside"]) == (effects, [claim])


def test_a_completed_job_that_failed_before_ends_its_spans_without_a_failure(world: World) -> None:
    failed = Failure(kind=FailureKind.TRANSIENT, message="x", exception="ValueError")
    job = Job(job_id="j", task="t", queue="q", status=JobStatus.COMPLETED, failure=failed, finished_at=7)
    outcome.end_spans(world.repo, job)
    assert world.spans == [("completed", {"at": 7, "kind": "", "exception": ""})]


def test_who_tries_again_is_told_that_nothing_could_be_written(world: World) -> None:
    claim = world.claimed()
    with patch.object(world.repo, "update_status", side_effect=StoreUnavailable("away")):
        for write in (outcome.record_failure, outcome.record_cancelled):
            assert write(world.repo, "j", claim.claim_token, BROKEN) is None
            with pytest.raises(StoreUnavailable):
                write(world.repo, "j", claim.claim_token, BROKEN, retry=True)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SoftTimeLimitExceeded(), FailureKind.TIMEOUT),
        (TimeLimitExceeded(), FailureKind.TIMEOUT),
        (CallDoesNotFit("x"), FailureKind.CONFIGURATION),
        (WorkerLostError(), FailureKind.ORPHANED),
        (BROKEN, None),
    ],
)
def test_a_worker_knows_the_kind_of_some_errors(error: Exception, kind: FailureKind | None) -> None:
    assert kind_of(error) is kind


@pytest.mark.parametrize(
    ("error", "left"), [(StoreUnavailable("away"), Ignore), (BROKEN, ValueError), ("not a time", Reject)]
)
def test_a_retry_that_was_not_written_ends_the_body(error: Any, left: type[Exception]) -> None:
    with pytest.raises(left) as caught:
        refuse_retry(error)
    assert getattr(caught.value, "requeue", False) is False
