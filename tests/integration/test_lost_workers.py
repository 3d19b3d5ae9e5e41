"""Children and whole workers that are killed or run out of time, with real processes and default settings."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobclaim.jobs import FailureKind, Job, JobRepo, JobStatus
from jobclaim.recovery import sweep
from jobclaim.recovery.loop import run_every
from jobclaim.settings import Settings
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support.endpoints import Endpoint
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
CHILD_SECONDS = 2.0
WORKER_SECONDS = 75.0
TASKS = ("tests.support.tasks", "tests.support.stopping")
DYING = ("tests.support.dying_tasks",)


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Stack]:
    with deployed(dynamodb_local, elasticmq, tmp_path, task_modules=TASKS, run_dir=str(tmp_path)) as made:
        yield made


@pytest.fixture
def submit(stack: Stack) -> Callable[..., str]:
    app = create_app(stack.settings)

    def send(task: str, *args: Any, **options: Any) -> str:
        job = app.jobclaim.repo.create_job(task, {"args": list(args), "kwargs": {}}, **options)
        publish(app, job)
        return str(job.job_id)

    return send


@pytest.mark.parametrize("task", ["dying.job", "dying.block"])
def test_a_child_that_ends_while_the_pool_clears_up_behind_another_has_its_body_run_once(
    task: str, dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    with deployed(dynamodb_local, elasticmq, tmp_path, task_modules=DYING, run_dir=str(tmp_path)) as stack:
        app = create_app(stack.settings)
        stack.worker("worker", "-c", "2", "-Q", "default")
        jobs = [app.jobclaim.repo.create_job(task, {"args": [], "kwargs": {}}) for _ in range(2)]
        for job in jobs:
            publish(app, job)
        ended = stack.wait_for([job.job_id for job in jobs], JobStatus.FAILED, 90)
        assert {kind_of(job) for job in ended.values()} == {FailureKind.ORPHANED}
        assert stack.bodies() == {(job.job_id, 1): 1 for job in jobs}


def test_a_killed_childs_job_fails_within_two_seconds(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "2", "-Q", "default")
    victim, other = submit("tests.sleep", 600), submit("tests.sleep", 8)
    stack.wait_for([victim, other], JobStatus.PROCESSING, 30)
    pid = wait_until(lambda: process_of(stack, victim), 30, "the body has started")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    killed = time.time()
    job = stack.wait_for([victim], JobStatus.FAILED, 30)[victim]
    assert job.finished_at / 1000 - killed < CHILD_SECONDS
    assert job.failure is not None
    assert job.failure.kind is FailureKind.ORPHANED
    assert stack.wait_for([other], JobStatus.COMPLETED, 30)[other].attempt == 1


@pytest.mark.versions
def test_a_killed_childs_job_that_may_run_again_does(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "1", "-Q", "default")
    job_id = submit("tests.suicide_once", on_orphan="retry")
    job = stack.wait_for([job_id], JobStatus.COMPLETED, 30)[job_id]
    assert (job.attempt, job.result, [past.outcome for past in job.history]) == (2, "survived", ["retry"])
    assert stack.bodies() == {(job_id, 1): 1, (job_id, 2): 1}


def test_a_job_that_always_kills_its_child_ends_when_its_attempts_do(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "1", "-Q", "default")
    job_id = submit("tests.suicide", on_orphan="retry", max_attempts=2)
    job = stack.wait_for([job_id], JobStatus.FAILED, 30)[job_id]
    assert job.attempt == 2
    assert stack.bodies() == {(job_id, 1): 1, (job_id, 2): 1}


def test_time_limits_are_enforced_and_recorded(stack: Stack, submit: Callable[..., str]) -> None:
    worker = stack.worker("worker", "-c", "4", "-Q", "default")
    hard, escaped = submit("tests.over_hard_limit"), submit("tests.over_soft_limit")
    caught, again = submit("tests.catches_soft_limit"), submit("tests.over_hard_limit_once", on_orphan="retry")
    failed = stack.wait_for([hard, escaped], JobStatus.FAILED, 30)
    assert {kind_of(job) for job in failed.values()} == {FailureKind.TIMEOUT}
    assert failed[hard].finished_at - failed[hard].created_at >= 2_000
    assert duration(failed[hard]) <= 2 + CHILD_SECONDS
    done = stack.wait_for([caught, again], JobStatus.COMPLETED, 30)
    assert (done[caught].result, done[again].result, done[again].attempt) == ("in good order", "in time", 2)
    assert '"claim.lost' not in worker.log()


def test_children_are_replaced_after_so_many_jobs(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "1", "-Q", "default", "--max-tasks-per-child", "3")
    jobs = stack.wait_for([submit("tests.process_id") for _ in range(7)], JobStatus.COMPLETED, 60)
    per_process = Counter(job.result for job in jobs.values()).values()
    assert sorted(per_process) == [1, 3, 3]
    assert {job.attempt for job in jobs.values()} == {1}


def test_all_jobs_of_a_killed_worker_are_settled_in_time(stack: Stack, submit: Callable[..., str]) -> None:
    """With default settings: hard limits of 30 min, so a lease that would end in 31.

    Takes 60 s: after as long without a heartbeat a worker is taken for dead.
    """
    worker = stack.worker("worker", "-c", "4", "-Q", "default")
    failing = [submit("tests.sleep", 900) for _ in range(2)]
    again = [submit("tests.sleep_or_again", 900, on_orphan="retry") for _ in range(2)]
    jobs = stack.wait_for([*failing, *again], JobStatus.PROCESSING, 30)
    assert min(job.lease_expires_at - job.claimed_at for job in jobs.values()) == 1_860_000
    wait_until(lambda: len(stack.bodies()) == 4, 30, "all four bodies run")
    with recovering(stack.settings):
        worker.send(signal.SIGKILL)
        killed = time.monotonic()
        ended = stack.wait_for(failing, JobStatus.FAILED, WORKER_SECONDS)
        stack.wait_for(again, JobStatus.PENDING, WORKER_SECONDS - (time.monotonic() - killed))
        assert time.monotonic() - killed < WORKER_SECONDS
        assert {kind_of(job) for job in ended.values()} == {FailureKind.ORPHANED}
        stack.worker("heir", "-c", "2", "-Q", "default")
        assert {job.attempt for job in stack.wait_for(again, JobStatus.COMPLETED, 30).values()} == {2}
    assert set(stack.bodies().values()) == {1}


@contextmanager
def recovering(settings: Settings) -> Iterator[None]:
    """Run recovery's loop beside the test, at the pace of the settings."""
    stop = threading.Event()
    app = create_app(settings)
    repo = JobRepo.from_settings(settings)

    def one_pass() -> Any:
        return sweep(repo, send=lambda job, delay: publish(app, job, delay))

    loop = threading.Thread(target=run_every, args=(settings.recovery_interval_seconds, one_pass, stop))
    loop.start()
    try:
        yield
    finally:
        stop.set()
        loop.join(30)


def process_of(stack: Stack, job_id: str) -> int | None:
    """Process that runs a job's body, as the body itself left it."""
    return next((int(row[2]) for row in stack.rows() if row[0] == job_id), None)


def kind_of(job: Job) -> FailureKind:
    """Kind of a failed job's failure."""
    assert job.failure is not None
    return job.failure.kind


def duration(job: Job) -> float:
    """Seconds from claim to end."""
    return (job.finished_at - job.claimed_at) / 1000
