"""No hook of a user's own class removes the claim, the fence or the bookkeeping: a host's own app, one real worker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from jobclaim.jobs import FailureKind, Job, JobStatus
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support.endpoints import Endpoint
from tests.support.stack import READY, ROOT, Stack, deployed
from tests.support.waiting import wait_until
from tests.support.warm import WarmProcess

pytestmark = pytest.mark.real
CLASSES = (
    *("starts", "calls_up", "flask", "mixed", "once", "raises"),
    *("requested", "sends", "runs", "guarded", "app_task", "plain"),
)
KILLED = ("flask", "mixed", "requested", "plain")
ROWS = [
    *((name, way) for name in CLASSES for way in ("returns", "fails", "retries")),
    *((name, "is killed") for name in KILLED),
]
COPIES = 2
ENDS = {
    "returns": (JobStatus.COMPLETED, 1),
    "fails": (JobStatus.FAILED, 1),
    "retries": (JobStatus.COMPLETED, 2),
    "is killed": (JobStatus.FAILED, 1),
}


@pytest.fixture(scope="module")
def world(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Each way with each class, two messages a job, on one worker of the host's app."""
    folder = tmp_path_factory.mktemp("hooks")
    with deployed(dynamodb_local, elasticmq, folder, task_modules=(), run_dir=str(folder)) as stack:
        app = create_app(stack.settings)
        ids = {(name, way): _submit(app, f"hooked.{name}", way) for name, way in ROWS}
        seen = folder / "seen.txt"
        argv = [sys.executable, "-m", "celery", "-A", "tests.support.hooked_app", "worker", "-c", "3", "-Q", "default"]
        env = {**stack.environment, "HOOKS_SEEN": str(seen)}
        with WarmProcess("host", argv, log_dir=folder, env=env, cwd=ROOT, stop_seconds=0) as worker:
            worker.wait_for_line(READY, 120)
            jobs = {
                key: job
                for status in (JobStatus.FAILED, JobStatus.COMPLETED)
                for key, job in _ended(stack, ids, status).items()
            }
            yield stack, jobs, worker, seen


def _submit(app: Any, task: str, way: str) -> str:
    job = app.jobclaim.repo.create_job(task, {"args": [way], "kwargs": {}})
    for _ in range(COPIES):
        publish(app, job)
    return str(job.job_id)


def _ended(stack: Stack, ids: dict[tuple[str, str], str], status: JobStatus) -> dict[tuple[str, str], Job]:
    wanted = {key: job_id for key, job_id in ids.items() if ENDS[key[1]][0] is status}
    jobs = stack.wait_for(list(wanted.values()), status, 150)
    return {key: jobs[job_id] for key, job_id in wanted.items()}


@pytest.mark.parametrize(("name", "way"), ROWS)
def test_the_claim_holds_whatever_a_class_overrides(world: Any, name: str, way: str) -> None:
    stack, jobs, _, _ = world
    job = jobs[name, way]
    assert (job.status, job.attempt, bool(job.worker_id)) == (*ENDS[way], True)
    assert [count for (job_id, _), count in stack.bodies().items() if job_id == job.job_id] == [1] * job.attempt
    if way == "is killed":
        assert job.failure.kind is FailureKind.ORPHANED
    elif way == "fails":
        assert (job.failure.exception, job.failure.kind) == ("LookupError", FailureKind.PERMANENT)
    else:
        assert job.result == way


def test_the_hooks_of_the_users_own_are_called_after_the_claim(world: Any) -> None:
    _, _, _, seen = world
    wanted = {f"mixin {hook}" for hook in ("on_success", "on_failure", "on_retry", "after_return")}
    wanted |= {"before_start ['returns']", "request on_failure"}
    wait_until(lambda: wanted <= set(seen.read_text().splitlines()), 30, lambda: f"{wanted} in {seen.read_text()}")


def test_the_worker_goes_on(world: Any) -> None:
    _, _, worker, _ = world
    assert worker.running
    assert worker.log().count(" ready.") == 1
