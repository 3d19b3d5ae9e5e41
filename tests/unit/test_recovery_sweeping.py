"""How a pass divides its time, what it counts as failed, and from where the next one continues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from jobclaim.jobs import FailureKind, JobStatus
from jobclaim.jobs.encoding.schema import open_key, retry_key
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.recovery.backlog import SqsBacklog
from jobclaim.recovery.cursor import Cursor, Mark
from jobclaim.recovery.sweeping import PASS_MS
from tests.simulation.client import ModelClient
from tests.support.clock import START_MS, ManualClock
from tests.support.recovery import Bench, before, bench_settings, failing

PARTITION = open_key("default", 0)
LEASE = 1860
ROUND, COMPLETE = START_MS + 5, START_MS + 3
"""When rounds of earlier passes began."""


@pytest.fixture
def bench(clock: ManualClock) -> Bench:
    settings = bench_settings(
        sweep_page_size=2, sweep_pages_per_shard=1, dead_letters={"TRANSIENT": {"retries": 1, "after_seconds": 1}}
    )
    return Bench(ModelClient(clock), settings, clock)


def of(key: str) -> Callable[[dict[str, Any]], bool]:
    """Choose the requests on a partition of the index."""
    return lambda request: bool(request["ExpressionAttributeValues"][":key"]["S"] == key)


# --- what it uses
def test_a_pass_asks_sqs_for_the_backlog_where_nobody_else_is_named(bench: Bench) -> None:
    bench.repo.create_job("tasks.work", job_id="j")
    bench.clock.advance(3_600)

    with patch.object(SqsBacklog, "__call__", lambda *_: 0):
        report = bench.sweep(backlog=None, redispatch_cap=0)

    assert (report.redispatched, report.held) == (1, 0)


def test_a_pass_uses_the_fleet_that_it_is_given(bench: Bench) -> None:
    bench.claimed("j", worker_id="w1")
    bench.beat("w1", job_ids=["j"])
    bench.clock.advance(60)
    fleet = bench.fleet

    with patch.object(fleet, "read", side_effect=fleet.read) as read:
        assert bench.sweep(fleet=fleet).orphaned == 1
    read.assert_called_once_with()


def test_a_pass_that_does_not_know_the_fleet_stores_no_cursor(bench: Bench) -> None:
    for n in range(3):
        bench.claimed(f"j{n}", hard_limit=40_000)
    bench.clock.advance(LEASE)

    blind = bench.sweep(bench.new_repo(failing(bench.client, "scan", lambda _: True)))

    assert (blind.truncated, bench.cursor_saved()) == (1, False)
    assert (bench.sweep().truncated, bench.cursor_saved()) == (1, True)


# --- its time
def test_jobs_that_are_due_soon_get_half_of_a_pass(bench: Bench) -> None:
    """With a fifth of its time for each, three begin within the half."""
    wide = bench.settings.model_copy(update={"sweep_page_size": 20})
    bench = Bench(bench.client, wide, bench.clock)
    for n in range(9):
        bench.repo.create_job("tasks.work", job_id=f"soon{n}", available_at=bench.clock() + 1_000_000)
    for n in range(9):
        bench.claimed(f"orphan{n}", hard_limit=1)
    bench.clock.advance(405)
    slow = before(bench.client, "update_item", lambda: bench.clock.advance(PASS_MS / 5_000 + 1))

    report = bench.sweep(bench.new_repo(slow))

    assert (report.scheduled, report.orphaned) == (3, 2)


def test_what_has_come_due_is_not_looked_at_as_if_it_were_due_soon(bench: Bench) -> None:
    due = bench.clock() + 1_000_000
    bench.repo.create_job("tasks.work", job_id="sent", available_at=due)
    bench.clock.advance(500)
    assert bench.sweep().scheduled == 1
    bench.clock.advance(400)
    bench.repo.create_job("tasks.work", job_id="later", available_at=due + 1)
    bench.clock.advance(110)

    report = bench.sweep()
    assert (report.examined, report.failed) == (0, 0)


# --- what it counts
@pytest.mark.parametrize(("partition", "walks"), [(PARTITION, 2), (retry_key(0), 1)])
def test_each_walk_that_cannot_read_its_partition_is_a_failure(bench: Bench, partition: str, walks: int) -> None:
    report = bench.sweep(bench.new_repo(failing(bench.client, "query", of(partition))))

    assert (report.failed, report.truncated) == (walks, walks)


def test_due_retries_beyond_the_bound_of_a_pass_are_left_to_the_next_one(bench: Bench) -> None:
    for n in range(3):
        worker, _ = bench.claimed(f"j{n}")
        worker.update_status(f"j{n}", "FAILED", error="no", kind=FailureKind.TRANSIENT)
    bench.clock.advance(10)

    assert [(report.revived, report.truncated) for report in (bench.sweep(), bench.sweep())] == [(2, 1), (1, 0)]


@pytest.mark.parametrize("operation", ["delete_item", "put_item"])
def test_a_record_that_cannot_be_written_is_one_failure(bench: Bench, operation: str) -> None:
    """One of a lost worker, to remove; or the cursor, to store."""
    bench.beat("w1", queues=["default"])
    for n in range(5):
        bench.claimed(f"j{n}", hard_limit=40_000)
    bench.clock.advance(60 if operation == "delete_item" else LEASE)
    if operation == "put_item":
        bench.client.delete_item(TableName=bench.settings.fleet_table, Key={"worker_id": {"S": "w1"}})

    report = bench.sweep(bench.new_repo(failing(bench.client, operation, lambda _: True)))

    assert report.failed == 1


def test_jobs_of_a_lost_worker_that_cannot_be_read_are_one_failure(bench: Bench) -> None:
    bench.beat("w1", job_ids=["j"])
    bench.clock.advance(60)

    report = bench.sweep(bench.new_repo(failing(bench.client, "batch_get_item", lambda _: True)))

    assert (report.failed, report.dead_workers) == (1, 0)


# --- from where the next one continues
@pytest.fixture
def left(bench: Bench) -> Callable[..., Mark]:
    """Run a pass after a mark that a pass before has left, beside a lost worker whose record stays."""

    def run(mark: Mark, jobs: int, *, unclean: bool = False) -> Mark:
        for n in range(jobs):
            bench.claimed(f"j{n:02}", worker_id="w1", hard_limit=40_000)
        bench.beat("w1")
        bench.fleet.save(Cursor({PARTITION: mark}))
        bench.clock.advance(60)
        line = failing(bench.client, "delete_item", lambda _: True)
        if unclean:
            line = failing(line, "update_item", lambda _: True)
        return bench.sweep(bench.new_repo(line)).cursor.marks.get(PARTITION, Mark())

    return run


UNDER_WAY = Mark(overdue=IndexEntry("i", START_MS), round_since=ROUND, complete_since=COMPLETE)
BETWEEN = Mark(complete_since=COMPLETE)


@pytest.mark.parametrize("unclean", [False, True])
def test_a_round_of_several_passes_is_complete_when_it_missed_nothing(left: Callable[..., Mark], unclean: bool) -> None:
    assert left(UNDER_WAY, 1, unclean=unclean) == Mark(complete_since=COMPLETE if unclean else ROUND)


@pytest.mark.parametrize("unclean", [False, True])
def test_a_round_of_one_pass_leaves_the_last_complete_one_as_it_was(left: Callable[..., Mark], unclean: bool) -> None:
    assert left(BETWEEN, 1, unclean=unclean) == BETWEEN


@pytest.mark.parametrize(("mark", "since"), [(UNDER_WAY, ROUND), (BETWEEN, START_MS + 60_000)])
@pytest.mark.parametrize("unclean", [False, True])
def test_a_round_that_goes_on_knows_since_when_it_has_missed_nothing(
    left: Callable[..., Mark], mark: Mark, since: int, unclean: bool
) -> None:
    expected = Mark(overdue=IndexEntry("j19", START_MS), round_since=0 if unclean else since, complete_since=COMPLETE)

    assert left(mark, 25, unclean=unclean) == expected


def test_a_pass_that_reads_nothing_leaves_nothing_to_remember(bench: Bench) -> None:
    for n in range(3):
        bench.claimed(f"j{n}", hard_limit=40_000)
    bench.clock.advance(LEASE)

    report = bench.sweep(bench.new_repo(before(bench.client, "query", lambda: bench.clock.advance(PASS_MS))))

    assert (report.examined, report.cursor) == (0, Cursor())


def test_rounds_are_remembered_for_as_long_as_a_worker_is_lost(bench: Bench) -> None:
    for n in range(50):
        bench.claimed(f"j{n:02}", worker_id="w2", hard_limit=40_000)
    bench.beat("w1")
    bench.clock.advance(60)
    reports = [bench.sweep() for _ in range(3)]

    assert [report.dead_workers for report in reports] == [0, 0, 1]
    assert bench.status("j00") is JobStatus.PROCESSING
    assert reports[-1].cursor == Cursor()
