"""Jobs of workers that died without a farewell: found by their heartbeats, long before a lease ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobclaim.jobs import FailureKind, JobRepo, JobStatus
from jobclaim.recovery import SweepReport
from jobclaim.settings import QueueSpec
from tests.support.clock import ManualClock
from tests.support.recovery import REAL, Bench, before, bench_settings, failing, store

QUEUES = (QueueSpec(name="default"), QueueSpec(name="slow"))


@pytest.fixture(params=REAL)
def bench(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Bench]:
    with store(request.param, request) as client:
        yield Bench(client, bench_settings(queues=QUEUES, sweep_page_size=2, sweep_pages_per_shard=1), clock)


def test_jobs_of_a_dead_worker_are_settled_and_its_record_removed(bench: Bench) -> None:
    bench.claimed("fails", worker_id="w1")
    bench.claimed("again", worker_id="w1", on_orphan="retry")
    bench.beat("w1", job_ids=["fails", "again"])
    bench.clock.advance(60)
    report = bench.sweep()
    assert (report.orphaned, report.retried, report.dead_workers) == (2, 1, 1)
    assert (bench.status("fails"), bench.status("again")) == (JobStatus.FAILED, JobStatus.PENDING)
    assert bench.sent.messages == [("again", 1, 0.0)]
    assert bench.workers() == set()


def test_a_cancel_that_a_dead_worker_did_not_come_to_takes_effect(bench: Bench) -> None:
    for job_id in ("unwanted", "wanted"):
        bench.claimed(job_id, worker_id="w1", on_orphan="retry")
    bench.beat("w1", commands={"unwanted": "cancel"})
    bench.clock.advance(60)
    bench.sweep()
    assert (bench.status("unwanted"), bench.status("wanted")) == (JobStatus.CANCELLED, JobStatus.PENDING)
    failure = bench.repo.get_job("unwanted").failure
    assert failure is not None
    assert failure.kind is FailureKind.CANCELLED
    assert bench.sent.of("unwanted") == []


def test_a_worker_that_was_seen_in_time_keeps_its_jobs(bench: Bench) -> None:
    bench.claimed("j", worker_id="w1")
    bench.beat("w1", job_ids=["j"])
    bench.clock.advance(59.999)
    report = bench.sweep()
    assert (report.examined, report.orphaned, report.dead_workers) == (0, 0, 0)
    assert bench.workers() == {"w1"}


def test_a_job_claimed_after_the_last_heartbeat_is_found_as_fast(bench: Bench) -> None:
    bench.beat("w1")
    bench.clock.advance(9)
    bench.claimed("unlisted", worker_id="w1")
    bench.claimed("elsewhere", worker_id="w2", queue="slow")
    bench.clock.advance(51)
    report = bench.sweep()
    assert (report.orphaned, report.dead_workers) == (1, 1)
    assert (bench.status("unlisted"), bench.status("elsewhere")) == (JobStatus.FAILED, JobStatus.PROCESSING)


def test_only_the_dead_workers_queues_are_looked_through(bench: Bench) -> None:
    bench.beat("w1", queues=["slow"])
    bench.clock.advance(30)
    bench.claimed("other", worker_id="w1")  # of a queue that w1 does not say it listens on
    bench.claimed("own", worker_id="w1", queue="slow")
    bench.clock.advance(30)
    report = bench.sweep()
    assert report.examined == 1
    assert bench.status("own") is JobStatus.FAILED


def test_a_long_queue_that_a_dead_worker_never_listened_on_keeps_no_record(bench: Bench) -> None:
    for n in range(9):
        bench.claimed(f"a{n}", worker_id="alive")
    bench.beat("w1", queues=["slow"])
    bench.clock.advance(60)
    report = bench.sweep()
    assert (report.truncated, report.dead_workers) == (1, 1)


def test_a_listed_job_of_a_queue_that_recovery_does_not_know_is_settled_too(bench: Bench) -> None:
    """Only its id leads to it: the record must stay until that worked."""
    wider = bench.settings.model_copy(update={"queues": (*bench.settings.queues, QueueSpec(name="old"))})
    worker = JobRepo(bench.client, settings=wider, clock=bench.clock)
    worker.create_job("tasks.work", job_id="j", queue="old")
    assert worker.claim_job("j", worker_id="w1") is not None
    bench.beat("w1", queues=["old"], job_ids=["j"])
    bench.clock.advance(60)
    broken = failing(bench.client, "update_item", lambda _: True)
    assert bench.sweep(bench.new_repo(broken)).dead_workers == 0
    unread = failing(bench.client, "batch_get_item", lambda _: True)
    assert bench.sweep(bench.new_repo(unread)).dead_workers == 0
    report = bench.sweep()
    assert (report.orphaned, report.dead_workers) == (1, 1)


def test_living_workers_lose_nothing_by_anothers_death(bench: Bench) -> None:
    for n in range(3):
        bench.claimed(f"w1-{n}", worker_id="w1")
        bench.claimed(f"w2-{n}", worker_id="w2")
    bench.beat("w1", job_ids=["w1-0", "w1-1", "w1-2"])
    bench.clock.advance(60)
    bench.beat("w2", job_ids=["w2-0", "w2-1", "w2-2"])
    assert bench.sweep().orphaned == 3
    assert [bench.status(f"w2-{n}") for n in range(3)] == [JobStatus.PROCESSING] * 3
    assert bench.workers() == {"w2"}


def test_a_worker_that_stopped_in_order_leaves_its_job_to_the_lease(bench: Bench) -> None:
    bench.claimed("j", worker_id="gone")
    bench.clock.advance(600)
    assert bench.sweep().orphaned == 0
    bench.clock.advance(1_260)
    assert bench.sweep().orphaned == 1


def test_a_worker_that_comes_back_while_it_is_settled_keeps_its_record(bench: Bench) -> None:
    bench.beat("w1")
    bench.claimed("j", worker_id="w1")
    bench.clock.advance(60)
    back = before(bench.client, "delete_item", lambda: bench.beat("w1"))
    report = bench.sweep(bench.new_repo(back))
    assert (report.orphaned, report.dead_workers) == (1, 0)  # the job is fenced; the worker may take new ones
    assert bench.workers() == {"w1"}


def test_a_record_stays_until_every_job_is_settled(bench: Bench) -> None:
    bench.claimed("stubborn", worker_id="w1")
    bench.beat("w1", job_ids=["stubborn"])
    bench.clock.advance(60)
    broken = failing(bench.client, "update_item", lambda request: request["Key"]["job_id"]["S"] == "stubborn")
    report = bench.sweep(bench.new_repo(broken))
    assert (report.orphaned, report.dead_workers) == (0, 0)
    assert bench.workers() == {"w1"}
    report = bench.sweep()
    assert (report.orphaned, report.dead_workers) == (1, 1)


def test_a_record_stays_until_the_whole_queue_was_looked_through(bench: Bench) -> None:
    """20 entries fit into a pass over a dead worker's queue; the job that nobody listed is the 45th."""
    for n in range(44):
        bench.claimed(f"a{n}", worker_id="alive")
        bench.clock.advance(0.001)
    bench.beat("w1")
    bench.claimed("last", worker_id="w1")
    bench.clock.advance(60)
    bench.beat("alive")
    reports: list[SweepReport] = []
    while "w1" in bench.workers():
        assert len(reports) < 10
        reports.append(bench.sweep())
        bench.clock.advance(1)
    assert [report.orphaned for report in reports] == [0, 0, 1]
    assert [report.truncated for report in reports] == [1, 1, 0]
    assert bench.status("last") is JobStatus.FAILED
    assert bench.sweep().examined == 2  # with nobody dead, a pass is back to its usual bound


def test_a_round_that_missed_something_removes_nobody(bench: Bench) -> None:
    """A write that failed in the first of several passes is not forgotten when the last one comes to the end."""
    bench.beat("w1")
    bench.claimed("first", worker_id="w1")
    for n in range(30):
        bench.clock.advance(0.001)
        bench.claimed(f"a{n}", worker_id="alive")
    bench.clock.advance(60)
    bench.beat("alive")
    broken = failing(bench.client, "update_item", lambda request: request["Key"]["job_id"]["S"] == "first")
    assert bench.sweep(bench.new_repo(broken)).failed == 1
    report = bench.sweep()  # comes to the end
    assert (report.truncated, report.orphaned, report.dead_workers) == (0, 0, 0)
    reports = [bench.sweep(), bench.sweep()]
    assert [(report.orphaned, report.dead_workers) for report in reports] == [(1, 0), (0, 1)]


def test_queues_whose_rounds_end_in_different_passes_count_together(bench: Bench) -> None:
    """25 jobs take two passes and 45 take three, so their rounds end together only in the sixth."""
    for queue, count in (("slow", 25), ("default", 45)):
        for n in range(count):
            bench.claimed(f"{queue}-{n}", worker_id="alive", queue=queue)
            bench.clock.advance(0.001)
    bench.beat("w1", queues=["slow", "default"])
    bench.clock.advance(60)
    bench.beat("alive")
    assert [bench.sweep().dead_workers for _ in range(4)] == [0, 0, 1, 0]


def test_a_round_that_went_among_the_young_for_a_dead_worker_ends_in_order(bench: Bench) -> None:
    """The place to go on is younger than what is looked at once nobody is dead any more."""
    bench.clock.advance(0.5)
    bench.beat("w1")
    bench.clock.advance(55)
    for n in range(25):
        bench.claimed(f"young{n}", worker_id="alive")
        bench.clock.advance(0.001)
    bench.clock.advance(5)
    assert bench.sweep().truncated == 1
    bench.beat("w1")  # it was not dead after all
    report = bench.sweep()
    assert (report.truncated, report.failed, report.examined) == (0, 0, 0)
    assert not report.cursor.marks


def test_jobs_claimed_by_a_worker_that_died_and_came_back_are_its_own(bench: Bench) -> None:
    bench.beat("w1")
    bench.clock.advance(61)
    during: list[Any] = []

    def claim_now() -> None:
        if not during:  # between the look at the fleet and the look at the jobs
            during.append(True)
            bench.clock.advance(2)
            bench.claimed("new", worker_id="w1")

    report = bench.sweep(bench.new_repo(before(bench.client, "query", claim_now)))
    assert report.orphaned == 0
    assert bench.status("new") is JobStatus.PROCESSING


def test_a_fleet_of_more_than_one_page_is_read_to_its_end(bench: Bench) -> None:
    page = bench.client.scan

    class Paged:
        def __getattr__(self, name: str) -> Any:
            return getattr(bench.client, name)

        def scan(self, **request: Any) -> Any:
            return page(**request, Limit=2)

    for n in range(7):
        bench.beat(f"w{n}")
    bench.clock.advance(60)
    assert bench.sweep(bench.new_repo(Paged())).dead_workers == 7


def test_a_living_workers_word_keeps_a_claim_past_its_lease_and_a_lost_workers_does_not(bench: Bench) -> None:
    """Its word is for claims, not for jobs: a claim that it does not name is an orphan when its lease is over."""
    _, named = bench.claimed("named", worker_id="w1")
    bench.claimed("forgotten", worker_id="w1")
    bench.clock.advance(named.lease_ms / 1000 + 1)
    bench.beat("w1", job_ids=["named", "forgotten"], claims=[named.claim_token])
    assert bench.sweep().orphaned == 1
    assert (bench.status("named"), bench.status("forgotten")) == (JobStatus.PROCESSING, JobStatus.FAILED)
    bench.clock.advance(60)
    assert bench.sweep().orphaned == 1
    assert bench.status("named") is JobStatus.FAILED
