"""The task layer with real workers on DynamoDB Local and a real SQS server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from jobclaim.jobs import JobStatus
from jobclaim.recovery import sweep
from jobclaim.settings import QueueSpec
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support import layer_tasks as tasks
from tests.support.endpoints import Endpoint
from tests.support.processes import ManagedProcess
from tests.support.stack import ROOT, Stack, deployed
from tests.support.submitters import SUBMISSIONS
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real

SETTINGS: dict[str, Any] = {
    "task_modules": ("tests.support.tasks", "tests.support.layer_tasks"),
    "queues": (
        QueueSpec(name="default", soft_limit=30, hard_limit=60),
        QueueSpec(name="quick", soft_limit=1, hard_limit=2, visibility_factor=2.5),
    ),
    "stop_timeout_seconds": 0,
    "visibility_slack_seconds": 0,
    "heartbeat_seconds": 1,
    "worker_dead_after_seconds": 10,  # a worker on a slow machine is none
}


AHEAD = 20
"""Seconds: four times the visibility timeout of the queue "quick"."""


class Layer:
    """A stack with a worker, and the app that submits to it.

    Attributes
    ----------
    ahead
        A call some seconds ahead, on the queue with the short visibility timeout.
    """

    worker: ManagedProcess
    ahead: Any

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.app = create_app(stack.settings)

    def call(self, task: Any, *args: Any, **options: Any) -> Any:
        """Call a task through this stack's app; Celery's current app may be another test's."""
        return self.app.tasks[task.name].apply_async(args, **options)

    def runs(self, job_id: str) -> list[int]:
        """Attempts whose bodies were started, each as often as it was."""
        return sorted(
            attempt for (found, attempt), count in self.stack.bodies().items() for _ in range(count) if found == job_id
        )

    def sweep(self) -> None:
        """One pass of recovery."""
        sweep(self.stack.repo, send=lambda job, delay: publish(self.app, job, delay), backlog=lambda _: 0)

    def settled(self, job_id: str, timeout: float = 30) -> Any:
        """Wait until a job is over, recovery running meanwhile."""

        def over() -> Any:
            self.sweep()
            job = self.stack.repo.get_job(job_id)
            return None if job.status.is_open else job

        return wait_until(over, timeout, lambda: f"{self.stack.repo.get_job(job_id)} is over", poll=0.5)


@pytest.fixture(scope="module")
def layer(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer]:
    """One stack with one worker for all tests that do not kill it."""
    with deployed(dynamodb_local, elasticmq, tmp_path_factory.mktemp("layer"), **SETTINGS) as stack:
        made = Layer(stack)
        made.worker = stack.worker("layer", "-Q", "default,quick", "-c", "3")
        made.ahead = made.call(tasks.when, countdown=AHEAD, queue="quick")  # waits while the other tests run
        yield made


class Submitters:
    """Processes that submit the same call together."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.hear()

    def at(self, moment: float, spread: float = 0.0) -> None:
        """Have all of them submit at a moment, epoch seconds, or spread over some seconds from then."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([moment, spread]) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Read the next answer."""
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


@contextmanager
def submitters(stack: Stack, task: Any, *args: Any) -> Iterator[Submitters]:
    """Start processes for a call."""
    argv = [sys.executable, "-m", "tests.support.submitters", task.name, json.dumps(args)]
    with (stack.log_dir / "submitters.log").open("ab") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=stack.environment, cwd=ROOT
        )
    try:
        yield Submitters(process)
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- equal submissions
def test_a_duplicate_sends_no_message_and_knows_the_result_at_once(layer: Layer) -> None:
    first = layer.call(tasks.export, 1, "pdf")
    value = first.get(timeout=30, interval=0.1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "jobclaim.workers.submission.submitted.publish_if_due", lambda *_, **__: pytest.fail("a message was sent")
        )
        again = layer.call(tasks.export, 1.0, "pdf")
    assert again.id == first.id
    layer.stack.repo.table.client().delete_item(
        TableName=layer.stack.settings.job_table, Key={"job_id": {"S": first.id}}
    )
    assert again.get(timeout=1) == value  # nothing is read any more
    assert layer.runs(first.id) == [1]


def test_a_decorated_task_is_idempotent_per_user(layer: Layer) -> None:
    calls = [layer.call(tasks.export, user, "csv") for user in (1, 1, 2)]
    assert len({call.id for call in calls}) == 2
    assert layer.app.tasks[tasks.export.name].generate_task_id(1, kind="csv") == calls[0].id
    assert [call.get(timeout=30, interval=0.1).split("-")[0] for call in calls] == ["1", "1", "2"]


# --- coming back
@pytest.mark.versions
def test_retries_follow_the_policy_and_the_last_failure_leaves_the_whole_history(layer: Layer) -> None:
    result = layer.call(tasks.fail, "OSError")
    with pytest.raises(OSError, match="attempt 3"):
        result.get(timeout=30, interval=0.1)
    job = layer.stack.repo.get_job(result.id)
    assert (job.status, job.charged, layer.runs(job.job_id)) == (JobStatus.FAILED, 3, [1, 2, 3])
    assert [(entry.outcome, entry.failure and entry.failure.message) for entry in job.history] == [
        ("retry", "attempt 1"),
        ("retry", "attempt 2"),
        ("fail", "attempt 3"),
    ]
    for (before, after), delay in zip(pairwise(job.history), (1.0, 2.0), strict=True):
        assert delay <= (after.claimed_at - before.ended_at) / 1000 < delay + 20, "not when it counts as lost"


def test_an_exception_with_a_rule_of_its_own_is_never_tried_again(layer: Layer) -> None:
    result = layer.call(tasks.fail, "KeyError")
    with pytest.raises(KeyError):
        result.get(timeout=30, interval=0.1)
    assert layer.runs(result.id) == [1]


def test_celerys_own_retry_options_mean_what_they_say(layer: Layer) -> None:
    result = layer.call(tasks.fail_plainly)
    with pytest.raises(OSError, match="again"):
        result.get(timeout=30, interval=0.1)
    assert layer.runs(result.id) == [1, 2]


def test_a_retry_may_change_its_arguments(layer: Layer) -> None:
    assert layer.call(tasks.change, 1).get(timeout=30, interval=0.1) == [2, "changed", 1]


def test_a_retry_that_the_fence_refuses_sends_nothing(layer: Layer) -> None:
    result = layer.call(tasks.usurped)
    job = layer.settled(result.id)
    assert job.failure.message == "taken away"
    layer.worker.wait_for_line("job.retry_dropped", 30)
    assert not [line for line in layer.worker.log().splitlines() if result.id in line and "job.retry_scheduled" in line]
    assert layer.runs(result.id) == [1]
    assert layer.stack.repo.get_job(result.id) == job


def test_a_snooze_is_not_charged(layer: Layer) -> None:
    assert layer.call(tasks.snooze_twice).get(timeout=30, interval=0.1) == [3, 1]


# --- limits
def test_jobs_of_one_key_run_one_at_a_time_and_none_is_charged_for_waiting(layer: Layer) -> None:
    calls = [layer.call(tasks.one_per_key, "a", number) for number in range(3)]
    other = layer.call(tasks.one_per_key, "b", 0)
    spans = sorted(call.get(timeout=60, interval=0.1) for call in calls)
    assert all(one[1] <= next_one[0] for one, next_one in pairwise(spans))
    assert other.get(timeout=30)
    jobs = [layer.stack.repo.get_job(call.id) for call in calls]
    assert {job.charged for job in jobs} == {1}
    assert all(len(layer.runs(job.job_id)) == 1 for job in jobs)


def test_a_rate_is_kept_by_the_fleet_and_each_job_waits_for_its_turn_once(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    """A job waits in its process for half of the stop's time at most, so the stop must take more than no time."""
    with deployed(dynamodb_local, elasticmq, tmp_path, **{**SETTINGS, "stop_timeout_seconds": 20}) as stack:
        limited = Layer(stack)
        stack.worker("limited", "-Q", "default", "-c", "3")
        calls = [limited.call(tasks.rated, number) for number in range(8)]
        starts = sorted(call.get(timeout=60, interval=0.1) for call in calls)
        jobs = [stack.repo.get_job(call.id) for call in calls]
    assert starts[-1] - starts[0] > 1.5
    assert {job.charged for job in jobs} == {1}
    assert sorted(job.attempt for job in jobs)[0] == 1
    assert sorted(job.attempt for job in jobs)[-1] <= 3


def test_a_worker_does_not_start_with_a_task_that_its_queue_cannot_hold(layer: Layer) -> None:
    env = {**layer.stack.environment, "JOBCLAIM_TASK_MODULES": '["tests.support.bad_tasks"]'}
    argv = [sys.executable, "-m", "celery", "-A", "jobclaim", "worker", "-Q", "default", "-c", "1"]
    with ManagedProcess("refused", argv, log_dir=layer.stack.log_dir, env=env, cwd=ROOT) as process:
        assert process.wait_for_exit(60) != 0
        assert "task 'bad.too_long': time_limit=40000 is above 60 s" in process.log()


# --- times
def test_a_job_20_seconds_ahead_starts_once_and_on_time_on_a_queue_with_5_seconds_of_visibility(layer: Layer) -> None:
    assert layer.stack.settings.visibility_timeout("quick") == 5
    layer.sweep()
    started = layer.ahead.get(timeout=40, interval=0.1)
    job = layer.stack.repo.get_job(layer.ahead.id)
    assert 0 <= started - job.available_at / 1000 < 10
    ahead = job.available_at - job.created_at
    assert 0 <= AHEAD * 1000 - ahead < 10_000, "the countdown begins before the job is written"
    assert (layer.runs(job.job_id), job.dispatches) == ([1], 1)


def test_a_job_that_comes_too_late_is_not_started(layer: Layer) -> None:
    late = layer.call(tasks.when, countdown=1.2, expires=1.3)  # SQS delays by whole seconds
    assert layer.settled(late.id).status is JobStatus.CANCELLED
    assert layer.runs(late.id) == []


# --- equal submissions from many processes
def test_64_equal_submissions_from_processes_are_one_run_also_when_the_window_ends_between_them(layer: Layer) -> None:
    """Takes 15 s: the window is long enough to be met by a slow machine."""
    with submitters(layer.stack, tasks.run_id, "w") as processes:
        processes.at(time.time())
        first = processes.hear()
        assert len(first) == SUBMISSIONS
        assert len({tuple(row) for row in first}) == 1  # one job, 64 equal results
        job = layer.stack.repo.get_job(first[0][0])
        assert layer.runs(job.job_id) == [1]

        processes.at(job.finished_at / 1000 + job.idempotency_ttl - 2, spread=4)
        second = processes.hear()
    assert {row[0] for row in second} == {job.job_id}
    results = Counter(row[1] for row in second)
    assert len(results) == 2
    assert first[0][1] in results
    assert layer.runs(job.job_id) == [1, 2]


def test_64_equal_submissions_get_one_result_although_the_worker_is_killed_in_the_middle(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path, layer: Layer
) -> None:
    """Takes 15 s: the killed worker has to be taken for dead."""
    with deployed(dynamodb_local, elasticmq, tmp_path, **SETTINGS) as stack:
        own = Layer(stack)
        worker = stack.worker("doomed", "-Q", "default", "-c", "1")
        with submitters(stack, tasks.hang_once, "k") as processes:
            processes.at(time.time())
            wait_until(stack.bodies, 30, "the body has started")
            ((job_id, _),) = stack.bodies()
            worker.send_group(SIGKILL)
            stack.worker("heir", "-Q", "default", "-c", "1")
            own.settled(job_id, 60)
            rows = processes.hear()
        assert len(rows) == SUBMISSIONS
        assert len({tuple(row) for row in rows}) == 1
        assert own.runs(job_id) == [1, 2]
        assert [entry.outcome for entry in stack.repo.get_job(job_id).history] == ["orphan-retry"]
