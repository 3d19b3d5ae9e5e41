"""The calls of a body that outlast its attempt: whose job they are for, and what leaving a waiting job does."""

from __future__ import annotations

import contextvars
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import pytest

from jobclaim.jobs import InvalidInput, Job, JobStatus
from jobclaim.workers.attempt import lasting
from jobclaim.workers.attempt.eagerly import Eagerly
from jobclaim.workers.attempt.lasting import LastingTask, Waits
from jobclaim.workers.telemetry import traces

JOB = Job(job_id="j", task="t", queue="q", status=JobStatus.PROCESSING, claim_token="token")


def test_a_waiting_job_frees_its_slot_and_ends_its_spans() -> None:
    task = MagicMock(request=SimpleNamespace(job=JOB))
    repo = task.jobclaim.repo
    with patch.object(traces, "ended") as ended, pytest.raises(Waits, match="it waits"):
        LastingTask._suspended(task, ValueError("it waits"))  # type: ignore[arg-type]
    assert task._make_room.call_count == 1
    assert ended.call_args.args == (repo.settings, JOB, "release")
    assert ended.call_args.kwargs == {"at": repo.clock.return_value}


def test_a_sleep_until_a_time_is_asked_of_the_running_job() -> None:
    task = MagicMock()
    LastingTask.sleep_until(task, 7, name="n")
    assert task._running.call_args.args == ("sleep_until",)
    running = task._running.return_value
    assert (running.sleep_until.call_args.args, running.sleep_until.call_args.kwargs) == ((7,), {"name": "n"})


@pytest.mark.parametrize("held", [[], [JOB], [JOB, JOB]])
def test_a_thread_outside_of_the_bodys_context_works_for_the_only_job_of_its_task(held: list[Job]) -> None:
    task: Any = MagicMock()
    task.name = "t"
    task.jobclaim.repo.held_of.return_value = held
    if len(held) > 1:
        with pytest.raises(InvalidInput, match=r"self\.step\(\) was called in a thread"):
            LastingTask._only_one(task, "step")
        return
    found = LastingTask._only_one(task, "step")
    if not held:
        assert isinstance(found, Eagerly)
        return
    assert found is task.jobclaim.repo.running.return_value
    assert task.jobclaim.repo.running.call_args.args == ("j",)
    assert task.jobclaim.repo.running.call_args.kwargs == {"token": "token"}


def test_a_thread_in_a_copy_of_the_bodys_context_works_for_its_job() -> None:
    task: Any = MagicMock(request=SimpleNamespace(called_directly=False))

    def body() -> Any:
        LastingTask._enter_body(task, JOB, task.jobclaim.repo)
        found = lasting._body.get()
        assert found is not None
        return found()

    assert contextvars.copy_context().run(body) is task.jobclaim.repo.running.return_value
    assert task.jobclaim.repo.running.call_args.args == ("j",)
    assert task.jobclaim.repo.running.call_args.kwargs["token"] == "token"
