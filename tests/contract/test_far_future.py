"""Jobs far ahead and jobs that may come too late, on a clock that the test moves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from jobclaim.jobs import FailureKind, JobStatus
from jobclaim.jobs.clock import system_clock
from jobclaim.settings import QueueSpec
from tests.support.clock import ManualClock
from tests.support.endpoints import Endpoint
from tests.support.recovery import Bench, bench_settings

MINUTE = 60
HALF_A_PASS = 30
"""Seconds between two passes of recovery in these tests."""

pytestmark = pytest.mark.real


@pytest.fixture
def bench(dynamodb_local: Endpoint) -> Bench:
    client = dynamodb_local.client(max_pool_connections=16)
    queues = (QueueSpec(name="default"), QueueSpec(name="other"))
    return Bench(client, bench_settings(queues=queues), ManualClock(system_clock()))


def sweep_for(bench: Bench, seconds: float, *, parallel: int = 1) -> None:
    """Let time pass while recovery runs, in one place or in several at once."""
    ends = bench.clock() + seconds * 1000
    while bench.clock() < ends:
        bench.clock.advance(HALF_A_PASS)
        with ThreadPoolExecutor(parallel) as pool:
            list(pool.map(lambda _: bench.sweep(bench.new_repo()), range(parallel)))


@pytest.mark.parametrize("minutes", [16, 25, 60 * 24 * 365])
def test_a_job_far_ahead_is_sent_once_and_starts_when_it_is_due(bench: Bench, minutes: int) -> None:
    due = bench.clock() + minutes * MINUTE * 1000
    job = bench.repo.create_job("t", {"n": 1}, available_at=due)
    bench.clock.advance(max(0, minutes - 20) * MINUTE)
    sweep_for(bench, min(minutes, 20) * MINUTE - HALF_A_PASS, parallel=3)
    (message,) = bench.sent.of(job.job_id)
    assert message[1] == 0
    dispatched = bench.repo.get_job(job.job_id).dispatched_at
    assert 0 <= dispatched + message[2] * 1000 - due <= 1000
    sweep_for(bench, 2 * MINUTE)
    assert len(bench.sent.of(job.job_id)) == 1  # the queue keeps it back, it is not lost
    claims = [bench.new_repo().claim_job(job.job_id, attempt=0) for _ in range(2)]
    assert [claim is not None for claim in claims] == [True, False]


def test_until_it_comes_near_a_job_far_ahead_costs_no_message_and_is_seen_in_the_list(bench: Bench) -> None:
    job = bench.repo.create_job("t", available_at=bench.clock() + 25 * MINUTE * 1000)
    sweep_for(bench, 10 * MINUTE)
    assert bench.sent.of(job.job_id) == []
    assert [listed.job_id for listed in bench.repo.list_jobs("PENDING").jobs] == [job.job_id]


def test_a_cancelled_job_is_never_sent(bench: Bench) -> None:
    job = bench.repo.create_job("t", available_at=bench.clock() + 25 * MINUTE * 1000)
    sweep_for(bench, 5 * MINUTE)
    bench.repo.cancel_job(job.job_id)
    sweep_for(bench, 30 * MINUTE)
    assert bench.sent.of(job.job_id) == []


def test_a_retry_far_ahead_goes_the_same_way(bench: Bench) -> None:
    owner, claim = bench.claimed("j")
    after = owner.reschedule("j", available_at=bench.clock() + 25 * MINUTE * 1000, error="later")
    assert after.dispatches == 0
    sweep_for(bench, 25 * MINUTE - HALF_A_PASS)
    assert [message[1] for message in bench.sent.of("j")] == [claim.attempt]


# --- too late
def test_a_job_that_nobody_started_in_time_is_ended_and_not_sent_again(bench: Bench) -> None:
    job = bench.repo.create_job("t", start_by=bench.clock() + 60_000)
    sweep_for(bench, 60 * MINUTE)
    ended = bench.repo.get_job(job.job_id)
    assert ended.status is JobStatus.CANCELLED
    assert ended.failure is not None
    assert (ended.failure.kind, ended.attempt) == (FailureKind.CANCELLED, 1)  # the attempt that its message is for
    assert "had not started by" in ended.failure.message
    assert bench.sent.of(job.job_id) == []


def test_a_job_far_ahead_that_would_come_too_late_is_not_sent_at_all(bench: Bench) -> None:
    job = bench.repo.create_job("t", available_at=bench.clock() + 25 * MINUTE * 1000, start_by=bench.clock() + 60_000)
    sweep_for(bench, 30 * MINUTE)
    assert bench.status(job.job_id) is JobStatus.CANCELLED
    assert bench.sent.of(job.job_id) == []


def test_of_workers_that_claim_a_late_job_none_gets_it(bench: Bench) -> None:
    bench.repo.create_job("t", job_id="late", start_by=bench.clock() + 1000)
    bench.clock.advance(1.001)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: bench.new_repo().claim_job("late"), range(8))) == {None}
    assert bench.status("late") is JobStatus.CANCELLED


def test_a_job_in_time_to_the_millisecond_starts(bench: Bench) -> None:
    bench.repo.create_job("t", job_id="j", start_by=bench.clock() + 1000)
    bench.clock.advance(1)
    assert bench.repo.claim_job("j") is not None


def test_a_job_held_back_before_its_body_may_still_become_too_late(bench: Bench) -> None:
    for started, late in ((False, True), (True, False)):
        owner, claim = bench.claimed(f"j{started}", start_by=bench.clock() + 1000)
        owner.release(claim.job_id, started=started)
        bench.clock.advance(2)
        assert (bench.new_repo().claim_job(claim.job_id) is None) is late


def test_an_equal_submission_does_not_wait_for_a_job_that_will_never_start(bench: Bench) -> None:
    first = bench.repo.create_job("t", idempotency_key="k", start_by=bench.clock() + 1000)
    bench.clock.advance(2)
    second = bench.repo.create_job("t", idempotency_key="k")
    assert second.created
    assert second.job_id == first.job_id
    assert bench.new_repo().claim_job(second.job_id, attempt=first.attempt) is None  # the old message
    assert bench.new_repo().claim_job(second.job_id, attempt=second.attempt) is not None


def test_waiting_for_a_limit_never_pushes_real_attempts_out_of_the_history(bench: Bench) -> None:
    owner, _ = bench.claimed("j")
    owner.reschedule("j", error=OSError("real"))
    for _ in range(25):
        worker = bench.new_repo()
        assert worker.claim_job("j") is not None
        worker.release("j", reason="limit", started=False)
    job = bench.repo.get_job("j")
    assert [entry.outcome for entry in job.history] == ["retry", "release"]
    assert (job.attempt, job.charged) == (26, 1)
