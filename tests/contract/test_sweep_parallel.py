"""Passes in parallel with themselves, on the store whose conditional writes are real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from jobclaim.jobs import ClaimLost, JobStatus
from jobclaim.recovery import Cursor, SweepReport
from tests.support.clock import ManualClock
from tests.support.endpoints import Endpoint
from tests.support.recovery import Bench, bench_settings

pytestmark = pytest.mark.real
PASSES = 4
LEASE = 1860


@pytest.fixture
def bench(dynamodb_local: Endpoint, clock: ManualClock) -> Bench:
    return Bench(dynamodb_local.client(max_pool_connections=32), bench_settings(index_shards=2), clock)


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Run calls in threads that start together; give their results."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        barrier.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def sweeps_at_once(bench: Bench) -> SweepReport:
    """Run passes together; give the sum of what they counted."""
    reports = at_once(*[lambda: bench.sweep(bench.new_repo())] * PASSES)
    total: Counter[str] = Counter()
    for report in reports:
        assert isinstance(report, SweepReport)
        total.update(report.counts())
    return SweepReport(**total, cursor=Cursor())


def test_passes_in_parallel_settle_every_orphan_once(bench: Bench) -> None:
    for n in range(30):
        bench.claimed(f"f{n}")
        bench.claimed(f"r{n}", on_orphan="retry")
    bench.clock.advance(LEASE)
    total = sweeps_at_once(bench)
    assert (total.orphaned, total.retried, total.failed) == (60, 30, 0)
    assert total.refused > 0, "the passes did not meet; the test proved nothing"
    assert Counter(job_id for job_id, _, _ in bench.sent.messages) == {f"r{n}": 1 for n in range(30)}
    for n in range(30):
        assert len(bench.repo.get_job(f"f{n}").history) == 1
        assert len(bench.repo.get_job(f"r{n}").history) == 1


def test_passes_in_parallel_send_every_lost_message_once(bench: Bench) -> None:
    for n in range(40):
        bench.repo.create_job("tasks.work", job_id=f"lost{n}")
        bench.repo.create_job("tasks.work", job_id=f"far{n}", available_at=bench.clock() + 1_000_000)
    bench.clock.advance(500)
    total = sweeps_at_once(bench)
    assert (total.redispatched, total.scheduled) == (40, 40)
    assert total.refused > 0, "the passes did not meet; the test proved nothing"
    sent = Counter(job_id for job_id, _, _ in bench.sent.messages)
    assert sent == {f"{kind}{n}": 1 for kind in ("lost", "far") for n in range(40)}


def test_a_dead_workers_jobs_are_settled_once_by_passes_in_parallel(bench: Bench) -> None:
    for n in range(20):
        bench.claimed(f"j{n}", worker_id="w1")
    bench.beat("w1", job_ids=[f"j{n}" for n in range(10)])
    bench.clock.advance(60)
    total = sweeps_at_once(bench)
    assert (total.orphaned, total.dead_workers) == (20, 1)
    assert bench.workers() == set()


def test_a_result_and_a_pass_that_race_leave_one_of_the_two(bench: Bench) -> None:
    """Whoever is first wins, the other is refused: FAILED and COMPLETED never mix, and never both succeed."""
    outcomes = Counter[JobStatus]()
    for n in range(25):
        worker, _ = bench.claimed(f"j{n}")
        bench.clock.advance(LEASE)

        def finish(n: int = n) -> bool:
            try:
                worker.update_status(f"j{n}", "COMPLETED", result=n)  # noqa: B023 - it runs within this round
            except ClaimLost:
                return False
            return True

        finished, report = at_once(finish, lambda: bench.sweep(bench.new_repo()))
        assert isinstance(report, SweepReport)
        job = bench.repo.get_job(f"j{n}")
        outcomes[job.status] += 1
        assert (job.status is JobStatus.COMPLETED) == finished == (report.orphaned == 0)
        assert (job.result == n) == (job.failure is None) == finished
    assert outcomes.total() == 25


def test_a_claim_and_a_repeated_message_that_race_start_the_job_once(bench: Bench) -> None:
    for n in range(25):
        bench.repo.create_job("tasks.work", job_id=f"j{n}")
        bench.clock.advance(120)
        worker = bench.new_repo()
        claim, _ = at_once(lambda n=n: worker.claim_job(f"j{n}", attempt=0), lambda: bench.sweep(bench.new_repo()))  # type: ignore[misc]  # noqa: B023
        assert claim is not None
        for job_id, attempt, _ in bench.sent.of(f"j{n}"):
            assert bench.new_repo().claim_job(job_id, attempt=attempt) is None
