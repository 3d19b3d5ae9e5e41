"""Revoking: an answer for each, whatever state the others are in; and an equal call while a cancel is under way."""

from __future__ import annotations

from typing import Any

import pytest
from celery import group, shared_task

from jobclaim.fleet.workers import CANCEL, FleetRecords, WorkerRecord
from jobclaim.jobs import CancelUnderWay, JobNotFound, JobStatus, StoreUnavailable
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask


@shared_task(base=JobTask, bind=True, name="revoke.work")
def work(self: Any, number: int) -> int:
    """Work; three fails."""
    if number == 3:
        raise LookupError("nothing there")
    return number


@shared_task(base=IdempotentTask, bind=True, name="revoke.equal")
def equal(self: Any, number: int) -> int:
    """Equal calls are one."""
    return number


WORKER = "jobclaim-testing:alive"


def running(harness: Harness, job_id: str) -> None:
    """Have a living worker claim a job."""
    now = harness.clock()
    FleetRecords.of(harness.repo).beat(WorkerRecord(worker_id=WORKER, seen_at=now, started_at=now))
    assert harness.repo.claim_job(job_id, worker_id=WORKER) is not None


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (1, 3, 0, 2, 4)])
def test_a_group_is_revoked_whatever_state_its_members_are_in(jobclaim: Harness, order: tuple[int, ...]) -> None:
    result = group(work.s(number) for number in order).apply_async()
    by_number = dict(zip(order, result.results, strict=True))
    for message in [one for one in jobclaim.messages if one.task_id in (by_number[1].id, by_number[3].id)]:
        jobclaim.messages.remove(message)
        jobclaim.deliver(message)
    running(jobclaim, by_number[2].id)
    assert jobclaim.repo.claim_job(by_number[4].id) is not None
    answers = jobclaim.app.control.revoke([one.id for one in result.results])
    assert {number: answers[one.id] for number, one in by_number.items()} == {
        0: "cancelled",
        1: "COMPLETED",
        2: "requested",
        3: "FAILED",
        4: "refused",
    }
    result.revoke()
    assert jobclaim.job(by_number[0]).status is JobStatus.CANCELLED


def test_ended_jobs_are_revoked_without_an_error_one_by_one_too(jobclaim: Harness) -> None:
    results = [work.delay(1), work.delay(3)]
    jobclaim.drain()
    for result in results:
        result.revoke()
    assert [str(jobclaim.job(result).status) for result in results] == ["COMPLETED", "FAILED"]


def test_an_unknown_id_is_answered_among_others_and_alone_raises(jobclaim: Harness) -> None:
    waiting = work.delay(1)
    assert jobclaim.app.control.revoke(["nobody", waiting.id]) == {"nobody": "unknown", waiting.id: "cancelled"}
    with pytest.raises(JobNotFound):
        jobclaim.app.control.revoke("nobody")


def test_an_outage_for_one_leaves_the_others_revoked(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    lost, waiting = work.delay(1), work.delay(2)
    get_job = jobclaim.repo.get_job

    def away(job_id: str) -> Any:
        if job_id == lost.id:
            raise StoreUnavailable("no answer")
        return get_job(job_id)

    monkeypatch.setattr(jobclaim.repo, "get_job", away)
    with pytest.raises(StoreUnavailable, match="1 of 2 jobs were not cancelled"):
        jobclaim.app.control.revoke([lost.id, waiting.id])
    assert get_job(waiting.id).status is JobStatus.CANCELLED


def test_an_equal_call_is_refused_while_a_cancel_is_under_way_and_runs_after_it(jobclaim: Harness) -> None:
    first = equal.delay(1)
    running(jobclaim, first.id)
    assert equal.delay(1).id == first.id
    first.revoke()
    with pytest.raises(CancelUnderWay, match="is being cancelled; submit again"):
        equal.delay(1)
    report = equal.submit_many([(1,), (2,)])
    assert len(report.failures) == 1
    token = jobclaim.job(first).claim_token
    jobclaim.repo.update_status(first.id, "CANCELLED", token=token, error="cancelled")
    FleetRecords.of(jobclaim.repo).beat(
        WorkerRecord(worker_id=WORKER, seen_at=jobclaim.clock(), started_at=jobclaim.clock()), (first.id,)
    )
    again = equal.delay(1)
    assert jobclaim.job(again).status is JobStatus.PENDING
    assert CANCEL not in FleetRecords.of(jobclaim.repo).get(WORKER).commands.values()  # type: ignore[union-attr]


def test_an_equal_call_of_a_waiting_job_that_was_cancelled_runs_at_once(jobclaim: Harness) -> None:
    first = equal.delay(1)
    first.revoke()
    equal.delay(1)
    jobclaim.drain()
    assert jobclaim.job(first).status is JobStatus.COMPLETED
