"""Stops, cancels and silent workers, with real processes: nothing lost, nothing twice, nobody else disturbed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobclaim.fleet.workers import FleetRecords
from jobclaim.infra import provision
from jobclaim.jobs import FailureKind, JobStatus
from jobclaim.workers import create_app
from jobclaim.workers.cancel import Answer, cancel
from jobclaim.workers.process.cancels import GENTLE_SECONDS
from jobclaim.workers.process.shutdown import IDLE_SECONDS
from jobclaim.workers.submission.dispatch import publish
from tests.support.endpoints import Endpoint
from tests.support.faults import BLACK_HOLE, faulty
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
TASKS = ("tests.support.tasks", "tests.support.stopping")
CANCEL_SECONDS = 15.0
"""As promised; what the settings make of it is asserted, not the machine's speed."""
LONGER_THAN_IDLE = IDLE_SECONDS + GENTLE_SECONDS + 1
DEAF = "TESTS_CHILDREN_ARE_DEAF"
"""Makes the children of `tests.support.stuck` deaf to SIGTERM."""

Deploy = Callable[..., Any]


class Deployment:
    """A stack, its app, and short words for what the tests do with them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.app = create_app(stack.settings)
        self.fleet = FleetRecords.of(stack.repo)

    def submit(self, task: str, *args: Any, **options: Any) -> str:
        """Write a job and send its message."""
        job = self.app.jobclaim.repo.create_job(f"tests.{task}", {"args": list(args), "kwargs": {}}, **options)
        if job.dispatches:
            wait = max(0, job.available_at - self.app.jobclaim.repo.clock()) / 1000
            publish(self.app, job, wait)
        return str(job.job_id)

    def started(self, *job_ids: str) -> dict[str, int]:
        """Wait until bodies have begun, and give their processes."""

        def processes() -> dict[str, int] | None:
            rows = {row[0]: int(row[2]) for row in self.stack.rows()}
            return rows if set(job_ids) <= rows.keys() else None

        found = wait_until(processes, 30, f"bodies of {job_ids} run")
        assert found is not None
        return found


@pytest.fixture
def deploy(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Callable[..., Any]:
    @contextmanager
    def make(**overrides: Any) -> Iterator[Deployment]:
        options = {"task_modules": TASKS, "run_dir": str(tmp_path), **overrides}
        with deployed(dynamodb_local, elasticmq, tmp_path, **options) as stack:
            yield Deployment(stack)

    return make


# --- stops
@pytest.mark.versions
def test_a_stopped_worker_finishes_what_fits_and_gives_the_rest_back(deploy: Deploy) -> None:
    with deploy(stop_timeout_seconds=8) as here:
        stack = here.stack
        old = stack.worker("old", "-c", "3", "-Q", "default")
        fits, again, fails = (
            here.submit("sleep", 3),
            here.submit("sleep_or_again", 900, on_orphan="retry"),
            here.submit("sleep", 900),
        )
        here.started(fits, again, fails)
        waiting = [here.submit("note", n) for n in range(20)]
        delayed = here.submit("note", 1, available_at=stack.repo.clock() + 9_000)
        stack.worker("new", "-c", "2", "-Q", "default", env={"JOBCLAIM_WORKER_NAME": "new"})
        old.send(signal.SIGTERM)
        assert old.wait_for_exit(30) == 0, "not ended as overdue"
        done = stack.wait_for([fits, again, delayed, *waiting], JobStatus.COMPLETED, 60)
        failed = stack.wait_for([fails], JobStatus.FAILED, 1)[fails]
        assert failed.failure is not None
        assert failed.failure.kind is FailureKind.ORPHANED
        released = done[again].history[0]
        assert (released.outcome, done[again].attempt, done[again].charged) == ("release", 2, 1)
        assert done[again].claimed_at - released.ended_at < 30_000, "at once, not when its message counts as lost"
        assert {done[job_id].attempt for job_id in (fits, delayed, *waiting)} == {1}
        assert done[delayed].claimed_at >= done[delayed].available_at
        assert set(stack.bodies().values()) == {1}


def test_jobs_in_flight_at_a_stop_start_elsewhere_at_once(deploy: Deploy) -> None:
    with deploy() as here:
        stack = here.stack
        old = stack.worker("old", "-c", "2", "-Q", "default")
        stack.worker("new", "-c", "2", "-Q", "default", env={"JOBCLAIM_WORKER_NAME": "new"})
        jobs = [here.submit("sleep", 0.2) for _ in range(40)]
        here.started(*jobs[:4])
        old.send(signal.SIGTERM)
        assert old.wait_for_exit(40) == 0
        done = stack.wait_for(jobs, JobStatus.COMPLETED, 60)
        assert {job.attempt for job in done.values()} == {1}
        assert set(stack.bodies().values()) == {1}
        assert '"event": "claim.acquired"' in old.log()


@pytest.mark.parametrize(
    ("task", "seconds", "timeout", "status"),
    [("late.job", LONGER_THAN_IDLE, 60, JobStatus.COMPLETED), ("late.block", 900, 6, JobStatus.FAILED)],
)
def test_a_child_that_has_a_job_and_confirms_it_after_the_stop_has_begun_is_not_idle(
    deploy: Deploy, task: str, seconds: float, timeout: int, status: JobStatus
) -> None:
    with deploy(task_modules=("tests.support.late_tasks",), stop_timeout_seconds=timeout) as here:
        worker = here.stack.worker("worker", "-c", "1", "-Q", "default")
        job_id = here.stack.submitter()(task, seconds)
        wait_until((here.stack.log_dir / "given").exists, 30, "a child has the job")
        worker.send(signal.SIGTERM)
        assert worker.wait_for_exit(40) == 0
        job = here.stack.repo.get_job(job_id)
        assert (job.status, job.attempt, here.stack.bodies()) == (status, 1, {(job_id, 1): 1})
        assert here.fleet.all() == []


@pytest.mark.parametrize(
    ("task", "on_orphan", "status"),
    [("late.job", "retry", JobStatus.PENDING), ("late.block", "fail", JobStatus.FAILED)],
)
def test_even_a_cold_stop_gives_back_a_job_that_its_child_had_not_confirmed(
    deploy: Deploy, task: str, on_orphan: str, status: JobStatus
) -> None:
    with deploy(task_modules=("tests.support.late_tasks",)) as here:
        worker = here.stack.worker("worker", "-c", "1", "-Q", "default")
        job_id = here.stack.submitter()(task, 900, on_orphan=on_orphan)
        wait_until((here.stack.log_dir / "given").exists, 30, "a child has the job")
        worker.send(signal.SIGQUIT)
        worker.wait_for_exit(40)
        assert here.stack.repo.get_job(job_id).status is status
        assert here.stack.bodies() == {(job_id, 1): 1}


@pytest.mark.parametrize("deaf", ["", "deaf to SIGTERM"])
@pytest.mark.parametrize("timeout", [2, 60])
def test_a_stop_does_not_wait_for_children_that_have_nothing_to_do(deploy: Deploy, timeout: int, deaf: str) -> None:
    with deploy(stop_timeout_seconds=timeout, task_modules=(*TASKS, "tests.support.stuck")) as here:
        worker = here.stack.worker("worker", "-c", "2", "-Q", "default", env={DEAF: deaf})
        done = [here.submit("note", number) for number in range(8)]
        here.stack.wait_for(done, JobStatus.COMPLETED, 30)
        worker.send(signal.SIGTERM)
        assert worker.wait_for_exit(30) == 0
        assert "worker.children_killed" in worker.log() or not deaf
        assert here.fleet.all() == [], "it left in order"


def test_the_deadline_of_a_stop_holds_for_children_that_work_and_do_not_end(deploy: Deploy) -> None:
    with deploy(stop_timeout_seconds=2, task_modules=(*TASKS, "tests.support.stuck")) as here:
        worker = here.stack.worker("worker", "-c", "2", "-Q", "default", env={DEAF: "1"})
        again = here.submit("sleep_or_again", 900, on_orphan="retry")
        here.started(again)
        worker.send(signal.SIGTERM)
        worker.wait_for_exit(30)
        assert here.stack.repo.get_job(again).status is JobStatus.PENDING


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("service", ["dynamodb", "sqs"])
def test_the_deadline_of_a_stop_holds_while_a_service_does_not_answer(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path, asked: signal.Signals, service: str
) -> None:
    with faulty(dynamodb_local) as (table, to_table), faulty(elasticmq) as (queue, to_queue):
        options = {"task_modules": TASKS, "run_dir": str(tmp_path), "stop_timeout_seconds": 2}
        with deployed(to_table, to_queue, tmp_path, **options) as stack:
            here = Deployment(stack)
            worker = stack.worker("worker", "-c", "2", "-Q", "default")
            here.started(here.submit("sleep", 900), here.submit("sleep_or_again", 900, on_orphan="retry"))
            silent = {"dynamodb": table, "sqs": queue}[service]
            silent.fault = BLACK_HOLE
            worker.send(asked)
            worker.wait_for_exit(40)
            silent.fault = None


def test_a_clean_stop_leaves_no_record_and_a_command_can_ask_for_it(deploy: Deploy) -> None:
    with deploy(heartbeat_seconds=1, worker_dead_after_seconds=5) as here:
        worker = here.stack.worker("worker", "-c", "1", "-Q", "default")
        record = wait_until(here.fleet.all, 30, "the worker has a record")[0]
        assert (record.queues, record.concurrency, record.pid) == (("default",), 1, worker.pid)
        assert record.digest == here.stack.settings.digest
        assert here.fleet.ask_to_drain(record.worker_id) is not None
        assert worker.wait_for_exit(60) == 0
        assert here.fleet.all() == []


def test_even_a_cold_stop_gives_running_jobs_back(deploy: Deploy) -> None:
    with deploy() as here:
        stack = here.stack
        old = stack.worker("old", "-c", "2", "-Q", "default")
        again, fails = here.submit("sleep_or_again", 900, on_orphan="retry"), here.submit("sleep", 900)
        here.started(again, fails)
        old.send(signal.SIGQUIT)
        old.wait_for_exit(40)
        stack.wait_for([fails], JobStatus.FAILED, 5)
        stack.worker("new", "-c", "1", "-Q", "default")
        done = stack.wait_for([again], JobStatus.COMPLETED, 30)[again]
        assert (done.attempt, done.charged, done.history[0].outcome) == (2, 1, "release")
        assert set(stack.bodies().values()) == {1}


# --- cancels
def test_a_running_job_that_sleeps_is_stopped_within_fifteen_seconds(deploy: Deploy, tmp_path: Path) -> None:
    """Takes 15 s: the cancel waits for a heartbeat, and then for the body's grace."""
    with deploy() as here:
        stack, gate = here.stack, tmp_path / "gate"
        worker = stack.worker("worker", "-c", "3", "-Q", "default")
        unwanted, wanted, later = (
            here.submit("sleep", 900),
            here.submit("wait_for_file", str(gate)),
            here.submit("note"),
        )
        body = here.started(unwanted, wanted)[unwanted]
        stack.wait_for([later], JobStatus.COMPLETED, 30)
        _wait_until_heartbeat(here, unwanted, wanted)  # so that the request has to wait for the next one
        assert stack.settings.heartbeat_seconds + stack.settings.cancel_grace_seconds + GENTLE_SECONDS < CANCEL_SECONDS
        assert cancel(stack.repo, unwanted) is Answer.REQUESTED
        wait_until(lambda: not _lives(body), 2 * CANCEL_SECONDS, "the body's process is gone")
        job = stack.repo.get_job(unwanted)
        assert job.status is JobStatus.CANCELLED
        assert job.failure is not None
        assert job.failure.kind is FailureKind.CANCELLED
        assert worker.running
        assert '"event": "job.cancelled"' in worker.log()
        more = [here.submit("note", n) for n in range(6)]
        stack.wait_for(more, JobStatus.COMPLETED, 60)
        assert stack.repo.get_job(wanted).status is JobStatus.PROCESSING
        gate.touch()
        done = stack.wait_for([wanted, *more], JobStatus.COMPLETED, 60)
        assert {each.attempt for each in done.values()} == {1}
        assert cancel(stack.repo, unwanted) is Answer.CANCELLED


def test_a_polite_task_ends_by_itself_and_an_impolite_one_by_its_finally_blocks(deploy: Deploy, tmp_path: Path) -> None:
    with deploy(heartbeat_seconds=1, worker_dead_after_seconds=5) as here:
        stack, tidied = here.stack, tmp_path / "tidied"
        stack.worker("worker", "-c", "2", "-Q", "default")
        polite, tidy = here.submit("polite", 900), here.submit("tidy", str(tidied))
        children = here.started(polite, tidy)
        for job_id in (polite, tidy):
            here.app.AsyncResult(job_id).revoke()
        stack.wait_for([polite, tidy], JobStatus.CANCELLED, 40)
        wait_until(tidied.exists, 30, "the finally block ran")
        wait_until(lambda: not _lives(children[tidy]), 30, "its process is gone")
        assert _lives(children[polite])
        assert here.app.AsyncResult(polite).state == "REVOKED"


def test_a_waiting_job_is_cancelled_at_once_and_its_message_starts_nothing(deploy: Deploy) -> None:
    with deploy() as here:
        waiting, after = here.submit("note", 1), here.submit("note", 2)
        assert here.app.control.revoke(waiting, terminate=True) == {waiting: "cancelled"}
        here.stack.worker("worker", "-c", "1", "-Q", "default")
        here.stack.wait_for([after], JobStatus.COMPLETED, 30)
        assert set(here.stack.bodies()) == {(after, 1)}


def test_a_cancelled_job_does_not_come_back_when_its_worker_stops(deploy: Deploy) -> None:
    with deploy(
        heartbeat_seconds=1, worker_dead_after_seconds=5, cancel_grace_seconds=60, stop_timeout_seconds=4
    ) as here:
        worker = here.stack.worker("worker", "-c", "1", "-Q", "default")
        job_id = here.submit("sleep_or_again", 900, on_orphan="retry")
        here.started(job_id)
        cancel(here.stack.repo, job_id)
        worker.wait_for_line("cancel.started", 30)
        worker.send(signal.SIGTERM)
        assert worker.wait_for_exit(30) == 0
        assert here.stack.repo.get_job(job_id).status is JobStatus.CANCELLED


# --- silence
def test_a_worker_that_cannot_write_its_heartbeat_takes_nothing_until_it_can(deploy: Deploy) -> None:
    with deploy(heartbeat_seconds=1, worker_dead_after_seconds=5) as here:
        stack = here.stack
        worker = stack.worker("worker", "-c", "1", "-Q", "default")
        stack.wait_for([here.submit("note", 1)], JobStatus.COMPLETED, 30)
        stack.repo.table.client().delete_table(TableName=stack.settings.fleet_table)
        worker.wait_for_line("are not made until it is back", 40)
        job_id = here.submit("note", 2)
        worker.wait_for_line("are not made until it is back", 40, after=len(worker.log()))
        assert stack.repo.get_job(job_id).status is JobStatus.PENDING
        provision(stack.settings)
        stack.wait_for([job_id], JobStatus.COMPLETED, 40)
        assert stack.repo.get_job(job_id).dispatches == 1


def _wait_until_heartbeat(here: Deployment, *job_ids: str) -> None:
    """Wait until a record that names these jobs has just been written."""
    wait_until(lambda: set(job_ids) <= {i for r in here.fleet.all() for i in r.jobs}, 40, "the record names the jobs")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
