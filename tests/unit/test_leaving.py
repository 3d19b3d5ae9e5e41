"""Ways out of a body where no process can end: in a thread, and past a claim that is over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import chain, shared_task
from celery.exceptions import Ignore, Reject, Retry

from jobclaim.jobs import JobStatus
from jobclaim.testing import Harness
from jobclaim.workers import JobTask

WAYS = (SystemExit(1), KeyboardInterrupt(), GeneratorExit())


@shared_task(base=JobTask, bind=True, name="unit.leaves")
def leaves(self: Any, number: int) -> None:
    raise WAYS[number]


@shared_task(base=JobTask, bind=True, name="unit.says", concurrency_key="state")
def says(self: Any, state: str, meta: Any) -> None:
    self.update_state(state=state, meta=meta)
    raise Ignore("said")


@shared_task(base=JobTask, name="unit.takes")
def takes(said: dict[str, int]) -> int:
    return said["rows"]


@shared_task(base=JobTask, bind=True, name="unit.rejects")
def rejects(self: Any) -> None:
    raise Reject("again", requeue=True)


def test_in_a_thread_no_way_out_of_a_body_reaches_beyond_its_job(jobclaim: Harness) -> None:
    ids = [leaves.delay(number).id for number in range(len(WAYS))]
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(jobclaim.drain).result() == len(WAYS)
    failures = [jobclaim.job(job_id).failure for job_id in ids]
    assert [failure and failure.exception for failure in failures] == [type(way).__name__ for way in WAYS]


def test_what_a_body_says_of_its_failure_is_recorded(jobclaim: Harness) -> None:
    rows: list[tuple[Any, str, str]] = [
        ("sold out", "", "sold out"),
        ({"exc_type": "Out", "exc_message": ["sold", "out"], "exc_module": "shop"}, "shop.Out", "sold\nout"),
        ({"sku": 4}, "", "{'sku': 4}"),
        (None, "", "None"),
    ]
    results = [says.delay("FAILURE", meta) for meta, _, _ in rows]
    jobclaim.drain()
    for result, (_, exception, message) in zip(results, rows, strict=True):
        failure = jobclaim.job(result.id).failure
        assert failure is not None
        assert (failure.exception, failure.message) == (exception, message)
        with pytest.raises(Exception, match=message.partition("\n")[0]):
            result.get(timeout=1)


def test_a_body_that_rejects_for_ever_is_slowed_and_never_charged(jobclaim: Harness) -> None:
    job_id = rejects.delay().id
    for _ in range(12):
        jobclaim.deliver(jobclaim.messages.popleft())
    job = jobclaim.job(job_id)
    assert (job.status, job.charged, job.attempt) == (JobStatus.PENDING, 0, 12)
    assert jobclaim.messages[0].due > jobclaim.clock()


def test_a_slot_is_given_back_however_its_body_ends(jobclaim: Harness) -> None:
    first, second = says.delay("FAILURE", "a"), says.delay("FAILURE", "b")
    jobclaim.drain()
    assert [jobclaim.job(one.id).attempt for one in (first, second)] == [1, 1]


def test_what_a_body_says_it_came_to_is_its_result_and_goes_on_in_its_chain(jobclaim: Harness) -> None:
    result = chain(says.s("SUCCESS", {"rows": 4}), takes.s()).apply_async()
    jobclaim.drain()
    assert result.get(timeout=1) == 4
    assert result.parent.get(timeout=1) == {"rows": 4}


def test_what_follows_a_body_that_ignores_is_revoked(jobclaim: Harness) -> None:
    result = chain(says.s("PROGRESS", {"rows": 4}), takes.s()).apply_async()
    jobclaim.drain()
    assert (result.parent.state, result.state) == ("REVOKED", "REVOKED")


@shared_task(base=JobTask, bind=True, name="unit.retried_by_hand", max_retries=1)
def retried_by_hand(self: Any, error: str, when: Any) -> None:
    raise Retry("later", exc=ValueError(error) if error else None, when=when)


@pytest.mark.parametrize(
    ("error", "failed"),
    [("why", ("ValueError", "why")), ("", ("celery.exceptions.MaxRetriesExceededError", "its last"))],
)
def test_a_retry_raised_by_hand_keeps_its_time_its_error_and_its_limit(
    jobclaim: Harness, error: str, failed: tuple[str, str]
) -> None:
    result = retried_by_hand.delay(error, 60)
    jobclaim.drain()
    waiting = jobclaim.job(result)
    assert (waiting.status, waiting.attempt) == (JobStatus.PENDING, 1)
    assert 59_000 < waiting.available_at - jobclaim.clock() <= 60_000
    jobclaim.travel(61)
    jobclaim.drain()
    ended = jobclaim.job(result)
    assert (ended.status, ended.attempt) == (JobStatus.FAILED, 2)
    assert ended.failure is not None
    assert ended.failure.exception == failed[0]
    assert failed[1] in ended.failure.message


def test_a_retry_at_a_time_that_is_none_fails_its_job(jobclaim: Harness) -> None:
    result = retried_by_hand.delay("why", "soon")
    jobclaim.drain()
    failure = jobclaim.job(result).failure
    assert failure is not None
    assert "'soon'" in failure.message
