"""Outcomes that children hand over to the main process of a real worker, which then dies, stops or loses its line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobclaim.jobs import JobStatus
from tests.integration.test_stopping_workers import deploy  # noqa: F401 - a fixture
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
Deploy = Callable[..., Any]
MODULES = ("tests.support.handing_tasks",)


def started(here: Any, how: str, moment: str) -> Any:
    env = {"TESTS_MOMENT": moment}
    if how == "celery":
        return here.stack.celery("worker", "worker", "-c", "2", "-Q", "default", env=env)
    return here.stack.worker("worker", "-c", "2", "-Q", "default", env=env)


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
