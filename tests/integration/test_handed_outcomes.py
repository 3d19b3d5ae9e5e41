"""Outcomes that children hand over to the main process of a real worker, which then dies, stops or loses its line."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobclaim.jobs import JobStatus
from tests.integration.test_stopping_workers import deploy  # noqa: F401 - a fixture
from tests.support.endpoints import Endpoint
from tests.support.faults import TABLE_THROTTLE, faulty
from tests.support.stack import deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
Deploy = Callable[..., Any]
MODULES = ("tests.support.handing_tasks",)


def started(here: Any, how: str, moment: str) -> Any:
    env = {"TESTS_MOMENT": moment}
    if how == "celery":
        return here.stack.worker("worker", "-c", "2", "-Q", "default", env=env)
    return here.stack.program("worker", "jobclaim", "worker", "run", "-q", "default", "-c", "2", env=env)


@pytest.mark.versions
@pytest.mark.parametrize("how", ["jobclaim", "celery"])
def test_the_main_process_records_what_its_children_hand_over(deploy: Deploy, how: str) -> None:  # noqa: F811
    with deploy(task_modules=MODULES) as here:
        started(here, how, "mute")
        submit = here.stack.submitter()
        jobs = [submit("tests.handed", False) for _ in range(20)]
        done = here.stack.wait_for(jobs, JobStatus.COMPLETED, 60)
        assert {(job.attempt, job.result) for job in done.values()} == {(1, "done")}


@pytest.mark.versions
@pytest.mark.parametrize("moment", ["SIGTERM", "SIGQUIT", "lost connection", "killed"])
def test_an_answer_that_is_not_read_yet_loses_nothing(deploy: Deploy, moment: str) -> None:  # noqa: F811
    with deploy(task_modules=MODULES, stop_timeout_seconds=20) as here:
        worker = started(here, "jobclaim", moment)
        job_id = here.stack.submitter()("tests.handed")
        wait_until((here.stack.log_dir / "answered").exists, 60, "the child has answered")
        if moment.startswith("SIG"):
            assert worker.wait_for_exit(40) == 0
            assert moment == "SIGQUIT" or here.fleet.all() == []
        job = here.stack.wait_for([job_id], JobStatus.COMPLETED, 30)[job_id]
        assert (job.attempt, job.history, here.stack.bodies()) == (1, (), {(job_id, 1): 1})
        if not moment.startswith("SIG"):
            after = here.stack.submitter()("tests.handed", False)
            here.stack.wait_for([after], JobStatus.COMPLETED, 30)


def test_a_hard_limit_that_is_over_when_the_answer_is_read_fails_nothing(deploy: Deploy) -> None:  # noqa: F811
    with deploy(task_modules=MODULES) as here:
        started(here, "jobclaim", "hard limit")
        job_id = here.stack.submitter()("tests.handed_limited")
        job = here.stack.wait_for([job_id], JobStatus.COMPLETED, 60)[job_id]
        assert (job.attempt, job.result, here.stack.bodies()) == (1, "done", {(job_id, 1): 1})


def test_a_stop_waits_for_an_outcome_that_is_delayed_as_it_waits_for_a_body(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    options = {"task_modules": MODULES, "run_dir": str(tmp_path), "stop_timeout_seconds": 40}
    with faulty(dynamodb_local) as (proxy, through), deployed(dynamodb_local, elasticmq, tmp_path, **options) as stack:
        stack.environment["JOBCLAIM_DYNAMODB_ENDPOINT_URL"] = through.endpoint_url
        worker = stack.worker("worker", "-c", "1", "-Q", "default", env={"TESTS_MOMENT": "waits"})
        job_id = stack.submitter()("tests.handed")
        wait_until(lambda: (job_id, 1) in stack.bodies(), 30, "the body runs")
        proxy.choose_fault = lambda operation: TABLE_THROTTLE if operation == "UpdateItem" else None
        (tmp_path / "go").touch()
        wait_until(lambda: proxy.failed, 30, "its outcome is refused")
        worker.send(signal.SIGTERM)
        time.sleep(stack.settings.stop_timeout_seconds - stack.settings.drain_seconds)
        proxy.choose_fault = lambda _: None
        assert worker.wait_for_exit(40) == 0
        job = stack.repo.get_job(job_id)
        assert (job.status, job.attempt) == (JobStatus.COMPLETED, 1)
