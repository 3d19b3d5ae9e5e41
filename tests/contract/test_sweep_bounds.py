"""A pass is bounded, goes on where it stopped, and finished jobs cost it nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.encoding.schema import shard_of
from jobclaim.jobs.model import DeadState
from jobclaim.settings import QueueSpec
from tests.support.clock import ManualClock
from tests.support.endpoints import Endpoint
from tests.support.recovery import REAL, Bench, Requests, before, bench_settings, failing, store

LEASE = 1860


@pytest.fixture(params=REAL)
def bench(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Bench]:
    """Four entries of each queue fit into one pass."""
    with store(request.param, request) as client:
        yield Bench(client, bench_settings(sweep_page_size=2, sweep_pages_per_shard=2), clock)


def running_for_ever(bench: Bench, count: int) -> None:
    for n in range(count):
        bench.claimed(f"r{n}", hard_limit=40_000)
        bench.clock.advance(0.001)


def test_a_pass_stops_at_its_bound_and_the_next_one_goes_on_there(bench: Bench) -> None:
    running_for_ever(bench, 9)
    bench.claimed("orphan")
    bench.clock.advance(LEASE)
    reports = [bench.sweep() for _ in range(3)]
    assert [report.examined for report in reports] == [4, 4, 2]
    assert [report.truncated for report in reports] == [1, 1, 0]
    assert [report.orphaned for report in reports] == [0, 0, 1]
    assert bench.sweep().examined == 4  # and round again from the oldest


def test_jobs_of_the_very_same_millisecond_are_all_reached(bench: Bench) -> None:
    for n in range(11):
        bench.claimed(f"r{n}", on_orphan="retry")
    bench.clock.advance(LEASE)
    bench.sent.broken = True
    for _ in range(8):
        bench.sweep()
    assert {bench.status(f"r{n}") for n in range(11)} == {JobStatus.PENDING}


def test_a_place_to_go_on_survives_the_end_of_the_job_that_marked_it(bench: Bench) -> None:
    workers = []
    for n in range(6):
        workers.append(bench.claimed(f"r{n}", hard_limit=40_000)[0])
        bench.clock.advance(0.001)
    bench.claimed("orphan")
    bench.clock.advance(LEASE)
    bench.sweep()
    workers[3].update_status("r3", "COMPLETED")  # the last one looked at
    assert bench.sweep().orphaned == 1


def test_a_lost_cursor_costs_reads_and_no_job(bench: Bench) -> None:
    running_for_ever(bench, 5)
    bench.claimed("orphan")
    bench.clock.advance(LEASE)
    bench.sweep()
    bench.client.put_item(
        TableName=bench.settings.fleet_table, Item={"worker_id": {"S": "#recovery"}, "cursor": {"S": "[rubbish"}}
    )
    reports = [bench.sweep(), bench.sweep()]
    assert [(report.examined, report.orphaned) for report in reports] == [(4, 0), (2, 1)]


def test_a_pass_that_could_not_read_the_fleet_leaves_the_cursor_as_it_is(bench: Bench) -> None:
    running_for_ever(bench, 9)
    bench.clock.advance(LEASE)
    saved = bench.sweep().cursor
    blind = bench.sweep(bench.new_repo(failing(bench.client, "scan", lambda _: True)))
    assert blind.examined == 4  # from the oldest again
    assert saved.marks
    assert bench.fleet.read().cursor == saved


def test_passes_take_turns_in_where_they_begin(bench: Bench) -> None:
    """Whatever time a pass runs out of, no partition is always the one that it does not come to."""
    first: set[str] = set()
    for _ in range(2):
        asked: list[str] = []

        def note(request: dict[str, Any], asked: list[str] = asked) -> bool:
            asked.append(request["ExpressionAttributeValues"][":key"]["S"])
            return False

        bench.sweep(bench.new_repo(failing(bench.client, "query", note)))
        first.add(asked[0])
        bench.clock.advance(1)
    assert first == {"OPEN#default#0", "OPEN#recovery#0"}


def test_passes_that_run_out_of_time_come_to_the_due_retries_of_every_shard(clock: ManualClock) -> None:
    """More dead letters are due in each shard than a pass has time for: none is always the last."""
    with mock_aws():
        client: Any = boto3.session.Session().client("dynamodb", region_name="us-east-1")
        bench = Bench(client, bench_settings(index_shards=2, sweep_page_size=2, sweep_pages_per_shard=4), clock)
        bench.load([due_retry(bench, n) for n in range(64)])
        slow = bench.new_repo(before(client, "update_item", lambda: bench.clock.advance(31)))
        for _ in range(6):
            bench.sweep(slow)
            bench.clock.advance(1)
    revived = {job_id for job_id, _, _ in bench.sent.messages}
    assert len(revived) < 32
    assert {shard_of(job_id, 2) for job_id in revived} == {0, 1}


def due_retry(bench: Bench, n: int) -> Job:
    job = Job(job_id=f"j{n}", task="tasks.work", queue="default", status=JobStatus.FAILED, attempt=1, charged=1)
    return replace(job, dead_state=DeadState.SCHEDULED, retry_at=bench.clock() - 1, finished_at=bench.clock() - 1_000)


def test_a_pass_with_nothing_to_remember_writes_nothing(bench: Bench) -> None:
    bench.claimed("j")
    bench.clock.advance(LEASE)
    bench.sweep()
    with Requests(bench.client) as requests:
        bench.sweep()
    assert not bench.cursor_saved()
    assert set(requests.counts) == {"Scan", "Query"}


def test_a_crowd_that_comes_due_together_is_sent_in_time_and_each_job_once(bench: Bench) -> None:
    due = bench.clock() + 1_000_000
    for n in range(10):
        bench.repo.create_job("tasks.work", job_id=f"j{n}", available_at=due)
    bench.clock.advance(405)
    reports = []
    for _ in range(6):
        reports.append(bench.sweep())
        bench.clock.advance(10)
    assert [report.scheduled for report in reports] == [4, 4, 2, 0, 0, 0]
    assert [report.examined for report in reports] == [4, 4, 2, 0, 0, 0]
    assert Counter(job_id for job_id, _, _ in bench.sent.messages) == {f"j{n}": 1 for n in range(10)}


def test_a_first_message_whose_write_failed_is_not_passed_over(bench: Bench) -> None:
    due = bench.clock() + 1_000_000
    for n in range(3):
        bench.repo.create_job("tasks.work", job_id=f"j{n}", available_at=due + n)
    bench.clock.advance(405)
    broken = failing(bench.client, "update_item", lambda request: request["Key"]["job_id"]["S"] == "j1")
    assert bench.sweep(bench.new_repo(broken)).scheduled == 2
    bench.clock.advance(30)
    assert bench.sweep().scheduled == 1
    assert len(bench.sent.messages) == 3


def test_a_backlog_behind_the_bound_delays_no_job_that_comes_due(bench: Bench) -> None:
    running_for_ever(bench, 20)
    bench.repo.create_job("tasks.work", job_id="far", available_at=bench.clock() + 1_000_000)
    bench.clock.advance(500)
    report = bench.sweep()
    assert (report.scheduled, report.truncated) == (1, 1)


def test_a_pass_that_takes_too_long_leaves_the_rest_to_the_next_one(bench: Bench) -> None:
    for n in range(4):
        bench.claimed(f"j{n}")
        bench.clock.advance(0.001)
    bench.clock.advance(LEASE)
    slow = before(bench.client, "update_item", lambda: bench.clock.advance(50))
    report = bench.sweep(bench.new_repo(slow))
    assert report.orphaned == 3
    assert report.truncated >= 1
    assert bench.sweep().orphaned == 1


# --- cost
@pytest.mark.real
@pytest.mark.parametrize("index_completed", [False, True])
def test_ten_orphans_cost_the_same_at_1000_and_at_4000_finished_jobs(
    dynamodb_local: Endpoint, clock: ManualClock, index_completed: bool
) -> None:
    client = dynamodb_local.client(max_pool_connections=16)
    settings = bench_settings(queues=(QueueSpec(name="default"),), index_shards=4, index_completed=index_completed)
    bench = Bench(client, settings, clock)
    bench.load(finished(bench, 0, 1_000))
    few = requests_for_ten_orphans(bench, "few")
    bench.load(finished(bench, 1_000, 4_000))
    many = requests_for_ten_orphans(bench, "many")
    assert few == many
    assert few["UpdateItem"] == 10
    assert few["Scan"] == 1  # of the fleet table
    # two queues of four shards, two looks each; a look at the failed jobs to be retried, and a batch, per shard
    assert few.total() <= 1 + 10 + 2 * 2 * 4 + 4 + 4


def requests_for_ten_orphans(bench: Bench, name: str) -> Counter[str]:
    """Ten orphans whose ids fall alike on the shards, so that the counts can be compared exactly."""
    for n in range(10):
        bench.claimed(_id_on_shard(n % 4, f"{name}-{n}"))
    bench.clock.advance(LEASE)
    with Requests(bench.client) as requests:
        report = bench.sweep()
    assert report.orphaned == 10
    return requests.counts


def _id_on_shard(shard: int, name: str) -> str:
    return next(job_id for n in range(1_000) if shard_of(job_id := f"{name}-{n}", 4) == shard)


def finished(bench: Bench, start: int, end: int) -> list[Job]:
    """Completed jobs, with a failed and a cancelled one among every hundred."""
    states = {0: JobStatus.FAILED, 1: JobStatus.CANCELLED}
    now = bench.clock()
    common: dict[str, Any] = {"task": "tasks.work", "queue": "default", "attempt": 1, "charged": 1, "dispatches": 1}
    return [
        Job(
            job_id=f"done-{n}",
            status=states.get(n % 100, JobStatus.COMPLETED),
            available_at=now - 10_000_000,
            finished_at=now - 9_000_000 + n,
            **common,
        )
        for n in range(start, end)
    ]
