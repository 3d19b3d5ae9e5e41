"""Recovery's moves: applied on exactly what was read, refused on anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import boto3
import pytest
from moto import mock_aws

from jobclaim.jobs import Failure, FailureKind, Job, JobRepo, JobStatus
from jobclaim.jobs.repo import rescue
from tests.support.clock import ManualClock
from tests.support.recovery import Bench, Requests, bench_settings

LOST = Failure(kind=FailureKind.ORPHANED, message="lost", at=1)


@pytest.fixture
def bench(clock: ManualClock) -> Iterator[Bench]:
    with mock_aws():  # a client of boto3's, whose requests are counted
        yield Bench(boto3.client("dynamodb"), bench_settings(), clock)


def orphan_fail(repo: JobRepo, job: Job) -> Job | None:
    return rescue.orphan_fail(repo, job, LOST)


def orphan_retry(repo: JobRepo, job: Job) -> Job | None:
    return rescue.orphan_retry(repo, job, LOST)


def give_up(repo: JobRepo, job: Job) -> Job | None:
    return rescue.give_up(repo, job, LOST)


MOVES: list[tuple[Callable[[JobRepo, Job], Job | None], bool, JobStatus]] = [
    (orphan_fail, True, JobStatus.FAILED),
    (orphan_retry, True, JobStatus.PENDING),
    (give_up, False, JobStatus.FAILED),
    (rescue.dispatch, False, JobStatus.PENDING),
]


def job_for(bench: Bench, *, claimed: bool) -> Job:
    if claimed:
        bench.claimed("j")
    else:
        bench.repo.create_job("tasks.work", {"n": 1}, job_id="j")
    return bench.repo.get_job("j")


@pytest.mark.parametrize(("move", "claimed", "target"), MOVES)
def test_a_move_gives_the_job_as_it_is_stored_then_and_costs_one_request(
    bench: Bench, move: Callable[[JobRepo, Job], Job | None], claimed: bool, target: JobStatus
) -> None:
    job = job_for(bench, claimed=claimed)
    with Requests(bench.client) as requests:
        after = move(bench.repo, job)
    assert requests.counts == {"UpdateItem": 1}
    assert after is not None
    assert after.status is target
    assert after == bench.repo.get_job("j")


@pytest.mark.parametrize(("move", "claimed", "target"), MOVES)
def test_a_move_made_twice_is_refused_and_changes_nothing(
    bench: Bench, move: Callable[[JobRepo, Job], Job | None], claimed: bool, target: JobStatus
) -> None:
    job = job_for(bench, claimed=claimed)
    after = move(bench.repo, job)
    assert move(bench.repo, job) is None
    assert bench.repo.get_job("j") == after


@pytest.mark.parametrize("move", [orphan_fail, orphan_retry])
def test_an_orphan_whose_claim_is_another_one_by_now_is_left_alone(
    bench: Bench, move: Callable[[JobRepo, Job], Job | None]
) -> None:
    job = job_for(bench, claimed=True)
    assert move(bench.repo, replace(job, claim_token="older")) is None
    assert bench.repo.get_job("j") == job


@pytest.mark.parametrize("move", [give_up, rescue.dispatch])
@pytest.mark.parametrize("stale", [{"attempt": 7}, {"dispatches": 7}])
def test_a_waiting_job_that_went_on_meanwhile_is_left_alone(
    bench: Bench, move: Callable[[JobRepo, Job], Job | None], stale: dict[str, int]
) -> None:
    job = job_for(bench, claimed=False)
    assert move(bench.repo, replace(job, **stale)) is None  # type: ignore[arg-type]
    assert bench.repo.get_job("j") == job


def test_the_first_message_of_a_job_far_ahead_can_be_counted(bench: Bench) -> None:
    bench.repo.create_job("tasks.work", job_id="j", available_at=bench.clock() + 10**8)
    job = bench.repo.get_job("j")
    assert job.dispatches == 0
    after = rescue.dispatch(bench.repo, job)
    assert after is not None
    assert (after.dispatches, after.dispatched_at) == (1, bench.clock())


def test_a_move_on_a_job_that_is_gone_is_refused(bench: Bench) -> None:
    job = job_for(bench, claimed=False)
    bench.client.delete_item(TableName=bench.settings.job_table, Key={"job_id": {"S": "j"}})
    assert rescue.dispatch(bench.repo, job) is None
    assert "Item" not in bench.client.get_item(TableName=bench.settings.job_table, Key={"job_id": {"S": "j"}})
