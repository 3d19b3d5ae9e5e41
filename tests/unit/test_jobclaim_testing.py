"""The helpers that users get for their own tests, used as they use them."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chain, shared_task

from jobclaim.jobs import JobStatus
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask

pytestmark = pytest.mark.embedded
ran: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@shared_task(base=JobTask, bind=True, name="testing.double")
def double(self: Any, number: int) -> int:
    """Give back twice the number."""
    ran.append((self.request.job.job_id, self.request.job.attempt))
    return 2 * number


@shared_task(base=IdempotentTask, bind=True, name="testing.confirm")
def confirm(self: Any, order: int) -> str:
    """Run once per order."""
    ran.append(order)
    return f"order {order} is confirmed"


@shared_task(base=JobTask, bind=True, name="testing.stubborn", max_retries=2)
def stubborn(self: Any) -> str:
    """Fail twice, a minute apart."""
    ran.append(self.request.retries)
    if self.request.retries < 2:
        raise self.retry(countdown=60, exc=OSError("not yet"))
    return "at last"


@shared_task(base=JobTask, bind=True, name="testing.careful", on_orphan="retry")
def careful(self: Any) -> None:
    """May be started again."""
    ran.append(self.request.job.attempt)


@shared_task(base=JobTask, bind=True, name="testing.again_and_again")
def again_and_again(self: Any) -> None:
    """Never come to an end."""
    again_and_again.delay()


def test_a_submission_waits_until_it_is_drained(jobclaim: Harness) -> None:
    result = double.delay(4)
    assert result.state == "PENDING"
    assert jobclaim.drain() == 1
    assert result.get(timeout=1) == 8
    assert jobclaim.job(result).attempt == 1


def test_a_message_delivered_twice_runs_the_body_once(jobclaim: Harness) -> None:
    double.delay(4)
    jobclaim.messages.extend(list(jobclaim.messages))
    assert jobclaim.drain() == 2
    assert len(ran) == 1


def test_equal_idempotent_calls_are_one_submission(jobclaim: Harness) -> None:
    confirm.delay(order=7)
    confirm.delay(7)
    assert jobclaim.assert_submitted(confirm, order=7).task == "testing.confirm"
    jobclaim.drain()
    assert ran == [7]
    assert confirm.delay(order=7).get(timeout=1) == "order 7 is confirmed"
    jobclaim.travel(2 * 3600)
    confirm.delay(order=7)
    jobclaim.drain()
    assert ran == [7, 7]


def test_a_wrong_expectation_says_what_was_submitted(jobclaim: Harness) -> None:
    double.delay(4)
    with pytest.raises(
        AssertionError, match=r"submitted 0 times with these arguments, not 1; submissions: .*testing.double\(\[4\]"
    ):
        jobclaim.assert_submitted(double, 5)
    jobclaim.assert_not_submitted(confirm)


def test_retries_come_when_their_time_has_come(jobclaim: Harness) -> None:
    result = stubborn.delay()
    jobclaim.drain()
    assert (ran, result.state) == ([0], "RETRY")
    jobclaim.travel(59)
    jobclaim.drain()
    assert ran == [0]
    jobclaim.travel(2)
    jobclaim.drain()
    jobclaim.travel(61)
    jobclaim.drain()
    assert ran == [0, 1, 2]
    assert result.get(timeout=1) == "at last"


def test_a_job_whose_worker_died_is_found_by_recovery(jobclaim: Harness) -> None:
    result = careful.delay()
    lost = jobclaim.abandon()
    assert lost.status is JobStatus.PROCESSING
    jobclaim.travel(lost.lease_ms / 1000 + 1)
    assert jobclaim.recover().orphaned == 1
    jobclaim.drain()
    assert ran == [2]
    assert result.state == "SUCCESS"


def test_a_lost_message_is_sent_again_by_recovery(jobclaim: Harness) -> None:
    double.delay(4)
    jobclaim.messages.clear()
    jobclaim.travel(300)
    assert jobclaim.recover().redispatched == 1
    assert jobclaim.drain() == 1
    assert len(ran) == 1


def test_eager_mode_still_claims(jobclaim_eager: Harness) -> None:
    result = chain(double.s(1), double.s(), double.s()).apply_async()
    assert result.get(timeout=1) == 8
    assert [attempt for _, attempt in ran] == [1, 1, 1]
    assert jobclaim_eager.states() == {JobStatus.COMPLETED: 3}


def test_a_task_that_submits_itself_for_ever_is_an_error(jobclaim: Harness) -> None:
    again_and_again.delay()
    with pytest.raises(AssertionError, match="messages are left after 10 deliveries"):
        jobclaim.drain(most=10)


def test_the_app_is_as_before_afterwards() -> None:
    from jobclaim.workers.apps import default_app

    app = default_app()

    with Harness.of() as harness:
        assert app.jobclaim.repo is harness.repo
    assert "send_task" not in vars(app)
