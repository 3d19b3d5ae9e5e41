"""A job that exists was not necessarily sent: equal submissions and recovery send it while it can still start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo import rescue
from tests.support.clock import ManualClock
from tests.support.endpoints import Endpoint
from tests.support.recovery import Bench, bench_settings

pytestmark = pytest.mark.real


@pytest.fixture
def bench(dynamodb_local: Endpoint) -> Bench:
    return Bench(dynamodb_local.client(max_pool_connections=16), bench_settings(), ManualClock(system_clock()))


def again(bench: Bench, **options: Any) -> Job:
    """Submit the same call once more, from another process."""
    return bench.new_repo().create_job("t", job_id="tick", **options)


def may_be_unsent(bench: Bench, job: Job) -> bool:
    return lifecycle.may_be_unsent(job, bench.clock(), bench.settings.max_dispatches)


def test_an_equal_submission_of_a_job_that_expires_may_send_at_once(bench: Bench) -> None:
    until = bench.clock() + 60_000
    again(bench, start_by=until)
    duplicate = again(bench, start_by=until)
    assert not duplicate.created
    assert may_be_unsent(bench, duplicate)


def test_of_equal_submissions_in_parallel_one_sends(bench: Bench) -> None:
    again(bench, start_by=bench.clock() + 60_000)
    duplicate = again(bench)
    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(lambda _: rescue.dispatch(bench.new_repo(), duplicate), range(8)))
    assert sum(job is not None for job in counted) == 1
    assert not may_be_unsent(bench, again(bench))  # one has just sent it


def test_a_job_that_waits_gets_two_messages_more_at_most(bench: Bench) -> None:
    again(bench, start_by=bench.clock() + 3_600_000)
    sent = 0
    for _ in range(60):
        duplicate = again(bench)
        if may_be_unsent(bench, duplicate):
            sent += rescue.dispatch(bench.repo, duplicate) is not None
        bench.clock.advance(30)
    assert sent == 2
    assert bench.status("tick") is JobStatus.PENDING


@pytest.mark.parametrize("released", [False, True])
def test_a_job_that_was_claimed_was_sent(bench: Bench, released: bool) -> None:
    owner, claim = bench.claimed("tick", start_by=bench.clock() + 60_000)
    if released:
        owner.release(claim.job_id, started=False)
    bench.clock.advance(30)
    assert not may_be_unsent(bench, bench.repo.get_job("tick"))


def test_a_job_that_does_not_expire_is_left_alone_while_it_is_probably_being_sent(bench: Bench) -> None:
    again(bench)
    assert not may_be_unsent(bench, again(bench))
    bench.clock.advance(5)
    assert may_be_unsent(bench, again(bench))


def test_a_job_that_is_not_due_for_long_is_recoverys(bench: Bench) -> None:
    again(bench, available_at=bench.clock() + 3_600_000)
    bench.clock.advance(60)
    assert not may_be_unsent(bench, again(bench))


def test_a_run_anew_of_an_ended_job_may_be_unsent_too(bench: Bench) -> None:
    bench.repo.create_job("t", idempotency_key="k", start_by=bench.clock() + 60_000)
    bench.repo.cancel_job(bench.repo.create_job("t", idempotency_key="k").job_id)
    bench.repo.create_job("t", idempotency_key="k", start_by=bench.clock() + 60_000)
    duplicate = bench.new_repo().create_job("t", idempotency_key="k")
    assert (duplicate.created, duplicate.attempt) == (False, 1)
    assert may_be_unsent(bench, duplicate)


# --- recovery
@pytest.mark.parametrize("expires", [20, 60, 180])
def test_recovery_sends_a_lost_message_while_the_job_can_still_start(bench: Bench, expires: int) -> None:
    again(bench, start_by=bench.clock() + expires * 1000)
    for _ in range(expires // 5):
        bench.clock.advance(5)
        bench.sweep()
    assert 1 <= len(bench.sent.of("tick")) <= 2
    assert bench.sent.of("tick")[0][1] == 0


def test_recovery_leaves_a_job_alone_while_half_of_its_time_is_left(bench: Bench) -> None:
    again(bench, start_by=bench.clock() + 100_000)
    for _ in range(10):
        bench.clock.advance(5)
        bench.sweep()
    assert bench.sent.of("tick") == []
    bench.clock.advance(5)
    bench.sweep()
    assert len(bench.sent.of("tick")) == 1


def test_a_copy_starts_nothing_twice(bench: Bench) -> None:
    again(bench, start_by=bench.clock() + 60_000)
    bench.clock.advance(35)
    bench.sweep()
    claims = [bench.new_repo().claim_job("tick", attempt=0) for _ in range(2)]
    assert [claim is not None for claim in claims] == [True, False]
