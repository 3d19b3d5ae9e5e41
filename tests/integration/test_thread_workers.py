"""Workers with ``-P threads`` and ``async def`` bodies, real ones: every outcome, and every way to end."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobclaim.fleet.workers import FleetRecords
from jobclaim.jobs import FailureKind, JobStatus
from jobclaim.recovery import sweep
from jobclaim.settings import QueueSpec
from jobclaim.workers.cancel import Answer, cancel
from tests.integration.test_lost_workers import recovering
from tests.support.endpoints import Endpoint
from tests.support.processes import ManagedProcess
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
MODULES = ("tests.support.thread_tasks",)
SIZE = 120
LIMITS = {"soft_limit": 1, "hard_limit": 2}
CUT_SHORT = ("threads.ask", "threads.ask_claimed", "threads.tidy", "threads.block", "threads.block_asks")

Send = Callable[..., str]


@pytest.fixture(scope="module")
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("threads")
    with deployed(
        dynamodb_local,
        elasticmq,
        folder,
        task_modules=MODULES,
        run_dir=str(folder),
        queues=(
            QueueSpec(name="default"),
            QueueSpec(name="short", soft_limit=1, hard_limit=2, lease_seconds=3),
            QueueSpec(name="processes"),
        ),
        tasks=dict.fromkeys(CUT_SHORT, LIMITS),
        heartbeat_seconds=2,
        worker_dead_after_seconds=8,
        recovery_interval_seconds=2,
        cancel_grace_seconds=1,
    ) as made:
        yield made


@pytest.fixture(scope="module")
def worker(stack: Stack) -> ManagedProcess:
    return stack.worker("worker", "-P", "threads", "-c", str(SIZE), "-Q", "default,short")


@pytest.fixture(scope="module")
def send(stack: Stack) -> Send:
    return stack.submitter()


def named(records: FleetRecords) -> set[str]:
    """Jobs that the fleet's records name."""
    return {job_id for record in records.all() for job_id in record.jobs}


def test_a_hundred_threads_hold_a_hundred_claims(
    stack: Stack, worker: ManagedProcess, send: Send, tmp_path: Path
) -> None:
    """Of both paths, all at once, and all in the heartbeat."""
    flag = tmp_path / "go"
    ids = [send(task, str(flag)) for task in ("threads.wait", "threads.claim") for _ in range(50)]
    stack.wait_for_bodies(ids)
    records = FleetRecords.of(stack.repo)
    wait_until(lambda: set(ids) <= named(records), 30, "the heartbeat names every job")
    assert {job.claim_token for job in stack.repo.table.get_many(ids).values()} <= set(records.all()[0].claims or ())
    flag.touch()
    done = stack.wait_for(ids, JobStatus.COMPLETED, 60)
    assert {job.result for job in done.values()} == {"waited in attempt 1", "claimed by hand"}
    assert {job.attempt for job in done.values()} == {1}
    assert all(stack.bodies()[(job_id, 1)] == 1 for job_id in ids)
    assert "claim.not_tracked" not in worker.log()

    def told() -> Counter[str]:
        lines = [line for line in worker.log().splitlines(keepends=True) if '"job.completed"' in line]
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        return Counter(row["job_id"] for row in rows if row["job_id"] in ids)

    wait_until(lambda: set(ids) <= told().keys(), 30, "each end is told")
    assert told() == dict.fromkeys(ids, 1)


def test_every_outcome_of_a_coroutine_is_recorded(stack: Stack, worker: ManagedProcess, send: Send) -> None:
    retried, failed = send("threads.retry"), send("threads.raise", "closed")
    forgot, left = send("threads.forgot", 0), send("threads.exit")
    again = stack.wait_for([retried], JobStatus.COMPLETED, 30)[retried]
    assert (again.attempt, [past.outcome for past in again.history]) == (2, ["retry"])
    ended = stack.wait_for([failed, forgot, left], JobStatus.FAILED, 30)
    failures = {job_id: job.failure for job_id, job in ended.items()}
    assert (failures[failed].exception, failures[failed].message) == ("ConnectionError", "closed")  # type: ignore[union-attr]
    assert "which was never awaited" in failures[forgot].message  # type: ignore[union-attr]
    assert "SystemExit" in f"{failures[left].exception} {failures[left].message}"  # type: ignore[union-attr]
    assert worker.running


def test_the_soft_limit_reaches_a_body_that_asks_and_one_that_awaits(
    stack: Stack, worker: ManagedProcess, send: Send, tmp_path: Path
) -> None:
    ids = [send("threads.ask", 60), send("threads.ask_claimed", 60), send("threads.tidy", str(tmp_path / "soft"))]
    assert {job.result for job in stack.wait_for(ids, JobStatus.COMPLETED, 30).values()} == {"cut short"}
    assert (tmp_path / "soft").read_text() == "SoftTimeLimitExceeded"


def test_a_cancel_ends_a_body_that_awaits_and_one_that_asks(stack: Stack, worker: ManagedProcess, send: Send) -> None:
    """A coroutine is cancelled where it awaits; no process is there to be killed."""
    beside = send("threads.wait", 5.0)
    ids = [send("threads.wait", 600), send("threads.claim", 600), send("threads.ask_slowly", 600)]
    stack.wait_for_bodies([beside, *ids])
    assert [cancel(stack.repo, job_id) for job_id in ids] == [Answer.REQUESTED] * len(ids)
    ended = stack.wait_for(ids, JobStatus.CANCELLED, 40)
    assert {job.failure.kind for job in ended.values() if job.failure} == {FailureKind.CANCELLED}
    assert stack.wait_for([beside], JobStatus.COMPLETED, 40)[beside].attempt == 1


def test_a_blocked_body_is_no_orphan_past_its_lease_and_ends_as_cancelled_when_it_returns(
    stack: Stack, worker: ManagedProcess, send: Send, tmp_path: Path
) -> None:
    flag = tmp_path / "go"
    kept, wanted = send("threads.block", str(flag), queue="short"), send("threads.block_asks", str(flag), queue="short")
    stack.wait_for_bodies([kept, wanted])
    wait_until(lambda: {kept, wanted} <= named(FleetRecords.of(stack.repo)), 30, "the heartbeat names both")
    cancel(stack.repo, wanted)
    lease = max(job.lease_expires_at for job in stack.repo.table.get_many([kept, wanted]).values())
    wait_until(lambda: stack.repo.clock() > lease, 30, "the leases are over")
    assert sweep(stack.repo, send=lambda *_: None).orphaned == 0
    states = {job.status for job in stack.repo.table.get_many([kept, wanted]).values()}
    assert states == {JobStatus.PROCESSING}
    flag.touch()
    assert stack.wait_for([kept], JobStatus.COMPLETED, 30)[kept].result == "blocked"
    stack.wait_for([wanted], JobStatus.CANCELLED, 30)
    assert stack.bodies()[(kept, 1)] == 1
    worker.wait_for_line('"job.hard_limit_exceeded"', 30)


def test_a_stop_gives_back_what_blocks_and_the_heir_starts_it_after_the_process_is_gone(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    """Takes 15 s: the stop waits out its timeout, of which an eighth is for what it writes."""
    with deployed(
        dynamodb_local, elasticmq, tmp_path, task_modules=MODULES, run_dir=str(tmp_path), stop_timeout_seconds=12
    ) as stack:
        send = stack.submitter()
        old = stack.worker("old", "-P", "threads", "-c", "20", "-Q", "default")
        fits, fails = send("threads.wait", 2.0), send("threads.block", "/nowhere")
        again = [
            send("threads.block_again", "/nowhere", on_orphan="retry"),
            send("threads.wait_again", 600, on_orphan="retry"),
        ]
        stack.wait_for_bodies([fits, fails, *again])
        stack.worker("heir", "-P", "threads", "-c", "4", "-Q", "default")
        old.send(signal.SIGTERM)
        assert old.wait_for_exit(30) == 0
        gone = time.time() * 1000
        stack.wait_for([fits], JobStatus.COMPLETED, 5)
        failed = stack.wait_for([fails], JobStatus.FAILED, 5)[fails]
        assert failed.failure is not None
        assert failed.failure.kind is FailureKind.ORPHANED
        done = stack.wait_for(again, JobStatus.COMPLETED, 30)
        assert {(job.attempt, job.charged, job.history[0].outcome) for job in done.values()} == {(2, 1, "release")}
        assert min(job.claimed_at for job in done.values()) >= gone - 1000
        assert old.log().count("worker.threads_abandoned") == 1
        assert len(FleetRecords.of(stack.repo).all()) == 1


def test_the_jobs_of_a_killed_worker_are_rescued_as_with_processes(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    with deployed(
        dynamodb_local,
        elasticmq,
        tmp_path,
        task_modules=MODULES,
        run_dir=str(tmp_path),
        heartbeat_seconds=1,
        worker_dead_after_seconds=5,
        recovery_interval_seconds=1,
    ) as stack:
        send = stack.submitter()
        victim = stack.worker("victim", "-P", "threads", "-c", "20", "-Q", "default")
        fails = [send(task, 600) for task in ("threads.wait", "threads.claim")]
        again = [send("threads.wait_again", 600, on_orphan="retry") for _ in range(10)]
        stack.wait_for_bodies(fails + again)
        with recovering(stack.settings):
            victim.send(signal.SIGKILL)
            stack.worker("heir", "-P", "threads", "-c", "20", "-Q", "default")
            stack.wait_for(fails, JobStatus.FAILED, 40)
            done = stack.wait_for(again, JobStatus.COMPLETED, 40)
        assert {(job.attempt, job.result) for job in done.values()} == {(2, "waited in attempt 2")}
        assert set(stack.bodies().values()) == {1}


def test_a_coroutine_in_a_process_gets_the_soft_limit_where_it_awaits(stack: Stack, send: Send, tmp_path: Path) -> None:
    stack.worker("prefork", "-c", "4", "-Q", "processes")
    tidy, again, claimed, wanted = (
        send(task, argument, queue="processes")
        for task, argument in (
            ("threads.tidy", str(tmp_path / "soft")),
            ("threads.retry", ""),
            ("threads.claim", 0),
            ("threads.wait", 600),
        )
    )
    stack.wait_for_bodies([wanted])
    cancel(stack.repo, wanted)
    ended = stack.wait_for([tidy, again, claimed], JobStatus.COMPLETED, 30)
    assert [ended[job_id].result for job_id in (tidy, again, claimed)] == ["cut short", 2, "claimed by hand"]
    assert (tmp_path / "soft").read_text() == "SoftTimeLimitExceeded"
    stack.wait_for([wanted], JobStatus.CANCELLED, 40)
