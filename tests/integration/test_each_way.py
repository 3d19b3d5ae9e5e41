"""A job each way, a killed worker and a plain ETA: in short what must hold with every supported Celery and Python."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from jobclaim.jobs import JobStatus
from jobclaim.recovery import sweep
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support.claiming import claiming_double, plain_time
from tests.support.endpoints import Endpoint
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.versions, pytest.mark.timeout(120)]
MODULES = ("tests.support.claiming", "tests.support.stopping", "tests.support.tasks")
WAIT = 30


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Stack]:
    quick = {"heartbeat_seconds": 1, "worker_dead_after_seconds": 5}
    with deployed(dynamodb_local, elasticmq, tmp_path, task_modules=MODULES, run_dir=str(tmp_path), **quick) as made:
        yield made


@pytest.fixture
def app(stack: Stack) -> Iterator[Celery]:
    made = create_app(stack.settings)
    made.set_current()
    yield made
    made.close()


def submit(app: Celery, task: str, *args: object, **options: object) -> str:
    """Write a job of a `JobTask` and send its message."""
    job = app.jobclaim.repo.create_job(task, {"args": list(args), "kwargs": {}}, **options)
    publish(app, job)
    return str(job.job_id)


def test_a_job_of_a_job_task_and_one_that_is_claimed_in_task_code_run_once(app: Celery, stack: Stack) -> None:
    plain = stack.repo.create_job(claiming_double.name, {"value": 21}).job_id
    sent = [claiming_double.apply_async(args=[plain], queue="default") for _ in range(3)]
    own = submit(app, "tests.note", 4)
    stack.worker("worker", "-c", "2", "-Q", "default")
    done = stack.wait_for([plain, own], JobStatus.COMPLETED, WAIT)
    assert (done[plain].result, done[own].result) == (42, 8)
    answers = [one.get(timeout=WAIT) for one in sent]
    assert sorted(map(str, answers)) == ["doubled", "{'status': 'SKIPPED'}", "{'status': 'SKIPPED'}"]
    assert set(stack.bodies().values()) == {1}


def test_the_jobs_of_a_killed_worker_run_again(app: Celery, stack: Stack) -> None:
    worker = stack.worker("doomed", "-c", "2", "-Q", "default")
    jobs = [submit(app, "tests.sleep_or_again", 900, on_orphan="retry") for _ in range(2)]
    wait_until(lambda: len(stack.bodies()) == len(jobs), WAIT, "both bodies run")
    worker.send(signal.SIGKILL)
    stack.worker("heir", "-c", "2", "-Q", "default")

    def recovered() -> bool:
        sweep(stack.repo, send=lambda job, delay: publish(app, job, delay))
        return all(job.attempt == 2 for job in stack.repo.table.get_many(jobs).values())

    wait_until(recovered, WAIT, "both jobs are claimed by the other worker", poll=1)
    assert {job.attempt for job in stack.wait_for(jobs, JobStatus.COMPLETED, WAIT).values()} == {2}
    assert set(stack.bodies().values()) == {1}


def test_a_plain_task_with_an_eta_runs_then_and_takes_no_process_before(app: Celery, stack: Stack) -> None:
    stack.worker("worker", "-c", "1", "-Q", "default")
    due = time.time() + 10
    later = plain_time.apply_async(countdown=10, queue="default")
    jobs = [submit(app, "tests.note", n) for n in range(5)]
    done = stack.wait_for(jobs, JobStatus.COMPLETED, WAIT)
    ran = later.get(timeout=WAIT)
    assert max(job.finished_at for job in done.values()) < 1000 * ran
    assert ran >= due - 1
