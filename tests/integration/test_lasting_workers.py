"""Steps, progress and waits in real workers, whose processes are killed at every statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobclaim.jobs import JobRepo, JobStatus
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support.endpoints import Endpoint
from tests.support.lasting_tasks import POINTS
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("lasting")
    tasks = ("tests.support.lasting_tasks",)
    with deployed(dynamodb_local, elasticmq, folder, task_modules=tasks, run_dir=str(folder)) as made:
        made.worker("worker", "-c", "2", "-Q", "default")
        yield made


def submit(stack: Stack, task: str) -> str:
    app = create_app(stack.settings)
    payload: dict[str, Any] = {"args": [], "kwargs": {}}
    job = app.jobclaim.repo.create_job(task, payload, on_orphan="retry", max_attempts=20)
    publish(app, job)
    return str(job.job_id)


def effects(stack: Stack, job_id: str) -> Counter[str]:
    """What the outside world saw of a job."""
    return Counter(row[1] for row in stack.rows() if row[0] == job_id)


@pytest.mark.parametrize("task", ["killed.order", "killed.plain_order"])
def test_an_order_whose_worker_is_killed_at_every_step_charges_once_a_step(stack: Stack, task: str) -> None:
    """Of the step that was cut off before its record the effect is there twice: at least once, as promised."""
    job_id = submit(stack, task)

    job = stack.wait_for([job_id], JobStatus.COMPLETED, 90)[job_id]

    seen = effects(stack, job_id)
    assert job.attempt == len(POINTS) + 1
    assert (seen["charge"], seen["label"], seen["mail"]) == (2, 1, 1)
    assert [step.name for step in job.steps] == ["charge", "label", "mail"]
    assert job.result == [f"charged {job_id}", f"label {job_id}"]
    assert job.checkpoint == f"charged {job_id}"


def test_a_job_that_waits_leaves_its_process_free_and_is_resumed_at_once(stack: Stack) -> None:
    waiting = [submit(stack, "killed.approve") for _ in range(4)]  # more than the worker has processes
    repo = JobRepo.from_settings(stack.settings)

    def all_wait() -> bool:
        return all(repo.get_job(job_id).waiting is not None for job_id in waiting)

    assert wait_until(all_wait, 30, "all four wait")
    assert stack.wait_for([submit(stack, "killed.nap")], JobStatus.COMPLETED, 30)
    for n, job_id in enumerate(waiting):
        repo.resume(job_id, "approval", n)

    jobs = stack.wait_for(waiting, JobStatus.COMPLETED, 30)

    assert [jobs[job_id].result for job_id in waiting] == list(range(4))
    assert {job.charged for job in jobs.values()} == {1}
    assert [effects(stack, job_id)["label"] for job_id in waiting] == [2] * 4
