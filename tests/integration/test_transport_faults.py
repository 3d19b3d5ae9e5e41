"""A real worker on a real SQS server that fails in every way: it goes on, and each job is done once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobclaim.jobs import JobStatus
from jobclaim.settings import QueueSpec
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support.endpoints import Endpoint
from tests.support.faults import BLACK_HOLE, GARBAGE, RESET, THROTTLE, Fault, FaultyProxy, error, faulty
from tests.support.processes import ManagedProcess
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real

JOBS = 1000
FAULTS: list[tuple[Fault, float]] = [
    (error(500), 3),
    (error(503), 3),
    (THROTTLE, 3),
    (RESET, 3),
    (GARBAGE, 2),
    (BLACK_HOLE, 7),
]
CALM_SECONDS = 1.5
OUTAGE_SECONDS = 30.0
SHORT_LIVED = QueueSpec(name="default", soft_limit=5, hard_limit=8, max_receive_count=50)
"""Visibility 16 s: a message that a cut connection swallowed comes back while the test still runs."""


class Deployment:
    """A stack behind a proxy, and a submitter beside it."""

    def __init__(self, stack: Stack, proxy: FaultyProxy, direct: Endpoint) -> None:
        self.stack = stack
        self.proxy = proxy
        self.app = create_app(stack.settings.model_copy(update={"sqs_endpoint_url": direct.endpoint_url}))
        self.sqs = direct.client()

    def submit(self, value: Any, *, task: str = "tests.note", queue: str = "default") -> str:
        """Write a job and send its message, past the proxy."""
        job = self.app.jobclaim.repo.create_job(task, {"args": [value], "kwargs": {}}, queue=queue)
        publish(self.app, job)
        return str(job.job_id)

    def url(self, queue: str) -> str:
        """Give the URL of a queue."""
        return str(self.sqs.get_queue_url(QueueName=self.stack.settings.physical_name(queue))["QueueUrl"])

    def depth(self, queue: str) -> tuple[int, int]:
        """Count messages that wait, and those in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.url(queue), AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])


@contextmanager
def deployment(dynamodb: Endpoint, sqs: Endpoint, log_dir: Path, **settings: Any) -> Iterator[Deployment]:
    """Deploy behind a proxy that passes everything so far."""
    with faulty(sqs) as (proxy, through), deployed(dynamodb, through, log_dir, **settings) as stack:
        yield Deployment(stack, proxy, sqs)


def lines(worker: ManagedProcess, event: str, request: str = "polling SQS") -> int:
    """Count log lines of an event about a kind of request."""
    return sum(event in line and request in line for line in worker.log().splitlines())


def test_a_thousand_jobs_survive_a_minute_of_faults(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    """Takes 70 s: the waits are the faults, one after another."""
    settings = {"queues": (SHORT_LIVED,), "stop_timeout_seconds": 2, "visibility_slack_seconds": 1}
    with deployment(dynamodb_local, elasticmq, tmp_path, **settings) as deploy:
        worker = deploy.stack.worker("worker", "-c", "4", "-Q", "default")
        jobs: list[str] = []
        submitter = threading.Thread(target=lambda: jobs.extend(deploy.submit(n) for n in range(JOBS)))
        submitter.start()
        try:
            go_through_all_faults(deploy.proxy)
        finally:
            submitter.join(120)
        assert len(jobs) == JOBS
        done = deploy.stack.wait_for(jobs, JobStatus.COMPLETED, 120)

        assert worker.running, "it is the same process that was started"
        assert len(done) == JOBS
        assert set(deploy.stack.bodies().values()) == {1}
        assert len(deploy.stack.bodies()) == JOBS
        assert deploy.proxy.failed.keys() >= {fault.name for fault, _ in FAULTS}
        outages = len(FAULTS) + 1
        assert 1 <= lines(worker, "sqs.failing") <= outages, "each outage is told once"
        fails = lines(worker, "sqs.failing")
        wait_until(lambda: lines(worker, "sqs.recovered") >= fails, 30, "each outage's end is told")
        worker.send(signal.SIGTERM)
        assert worker.wait_for_exit(30) == 0


def go_through_all_faults(proxy: FaultyProxy) -> None:
    """A minute of them; the waits are the faults. Each lasts until it has hit a request, on a slow machine too."""
    for fault, seconds in FAULTS:
        proxy.fault = fault
        time.sleep(seconds)
        wait_until(partial(proxy.failed.get, fault.name), 30, f"{fault.name} hits a request")
        proxy.fault = None
        time.sleep(CALM_SECONDS)
    proxy.refuse()
    time.sleep(OUTAGE_SECONDS)
    proxy.accept()


def test_a_worker_that_starts_during_an_outage_begins_when_it_ends(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    with deployment(dynamodb_local, elasticmq, tmp_path) as deploy:
        urls = {name: deploy.url(name) for name in deploy.stack.settings.queue_names}
        known = {"JOBCLAIM_QUEUE_URLS": str(urls).replace("'", '"')}
        job = deploy.submit(1)
        deploy.proxy.refuse()
        worker = deploy.stack.worker("worker", "-c", "1", "-Q", "default", env=known)
        worker.wait_for_line("sqs.failing", 40)
        deploy.proxy.accept()
        deploy.stack.wait_for([job], JobStatus.COMPLETED, 60)


def test_two_processes_on_three_queues_never_hold_more_than_two_messages(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    queues = tuple(QueueSpec(name=name, priority=priority) for name, priority in (("a", 9), ("b", 5), ("default", 1)))
    with deployment(dynamodb_local, elasticmq, tmp_path, queues=queues) as deploy:
        go = tmp_path / "go"
        jobs = [
            deploy.submit(str(go), task="tests.wait_for_file", queue=n) for n in ("default", "b", "a") for _ in range(4)
        ]
        deploy.stack.worker("worker", "-c", "2", "-Q", "a,b,default")
        wait_until(lambda: len(deploy.stack.bodies()) == 2, 30, "two bodies run")
        wait_until(lambda: sum(deploy.depth(queue.name)[1] for queue in queues) == 0, 30, "their messages are deleted")

        deadline = time.monotonic() + 3  # longer than any pause of the polls
        while time.monotonic() < deadline:
            assert deploy.proxy.outstanding == 0, "nothing is asked for that no process could start"
            assert sum(deploy.depth(queue.name)[0] for queue in queues) == len(jobs) - 2
            time.sleep(0.1)
        assert deploy.depth("a")[0] == 2, "both came from the queue with the highest priority"

        go.touch()
        deploy.stack.wait_for(jobs, JobStatus.COMPLETED, 60)
        assert deploy.proxy.most_outstanding <= 2 + 3 * 2, "the processes, and three ahead of each over a slow line"
        assert set(deploy.stack.bodies().values()) == {1}


def test_each_of_more_queues_than_processes_is_heard_at_once(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    names = ["a", "b", "c", "d", "default"]
    queues = tuple(QueueSpec(name=name) for name in names)
    with deployment(dynamodb_local, elasticmq, tmp_path, queues=queues, wait_time_seconds=10) as deploy:
        deploy.stack.worker("worker", "-c", "2", "-Q", ",".join(names))
        deploy.stack.wait_for([deploy.submit(0)], JobStatus.COMPLETED, 30)
        for name in names:
            job_id = deploy.submit(1, queue=name)
            job = deploy.stack.wait_for([job_id], JobStatus.COMPLETED, 60)[job_id]
            assert job.claimed_at - job.available_at < 8000, f"queue {name}: not after a long poll of another's"


def test_a_burst_over_more_queues_than_processes_leaves_what_cannot_start_to_other_workers(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    names = ["a", "b", "c", "default"]
    queues = tuple(QueueSpec(name=name) for name in names)
    with deployment(dynamodb_local, elasticmq, tmp_path, queues=queues, wait_time_seconds=5) as deploy:
        go = tmp_path / "go"
        deploy.stack.worker("worker", "-c", "1", "-Q", ",".join(names))
        wait_until(lambda: deploy.proxy.outstanding == len(names), 30, "every queue has a long poll")
        jobs = [deploy.submit(str(go), task="tests.wait_for_file", queue=name) for name in names]
        wait_until(lambda: len(deploy.stack.bodies()) == 1, 30, "one body runs")
        wait_until(lambda: sum(deploy.depth(name)[0] for name in names) == 3, 30, "the others are visible again")

        go.touch()
        deploy.stack.wait_for(jobs, JobStatus.COMPLETED, 30)
        assert set(deploy.stack.bodies().values()) == {1}


def test_a_poll_under_way_at_the_stop_swallows_no_message(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    with deployment(dynamodb_local, elasticmq, tmp_path, wait_time_seconds=3) as deploy:
        first = deploy.stack.worker("first", "-c", "2", "-Q", "default")
        wait_until(lambda: deploy.proxy.outstanding == 2, 30, "a long poll is under way")
        first.send(signal.SIGTERM)
        first.wait_for_line("Warm shutdown", 30)
        job = deploy.submit(1)
        assert first.wait_for_exit(30) == 0
        deploy.stack.worker("second", "-c", "1", "-Q", "default")
        deploy.stack.wait_for([job], JobStatus.COMPLETED, 30)
        assert set(deploy.stack.bodies().values()) == {1}


@pytest.mark.versions
def test_a_worker_polls_again_after_its_consumer_was_reconnected(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    settings = {"queues": (SHORT_LIVED,), "visibility_slack_seconds": 1}
    modules = ("tests.support.tasks", "tests.support.break_once")
    with deployment(dynamodb_local, elasticmq, tmp_path, task_modules=modules, **settings) as deploy:
        worker = deploy.stack.worker("worker", "-c", "2", "-Q", "default")
        before = [deploy.submit(n) for n in range(20)]
        worker.wait_for_line("Connection to broker lost", 40)
        after = [deploy.submit(n) for n in range(20)]
        deploy.stack.wait_for(before + after, JobStatus.COMPLETED, 90)
        assert set(deploy.stack.bodies().values()) == {1}
        worker.send(signal.SIGTERM)
        assert worker.wait_for_exit(30) == 0


def test_messages_fetched_ahead_are_given_back_when_jobs_get_longer(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    with deployment(dynamodb_local, elasticmq, tmp_path) as deploy:
        go = tmp_path / "go"
        quick = [deploy.submit(n) for n in range(80)]
        slow = [deploy.submit(str(go), task="tests.wait_for_file") for _ in range(6)]
        deploy.stack.worker("busy", "-c", "1", "-Q", "default")
        deploy.stack.wait_for(quick, JobStatus.COMPLETED, 60)
        wait_until(
            lambda: deploy.depth("default") == (5, 0), 30, lambda: f"5 wait for others: {deploy.depth('default')}"
        )

        deploy.stack.worker("idle", "-c", "5", "-Q", "default")
        wait_until(lambda: len(deploy.stack.bodies()) == len(quick) + 6, 40, "another worker started them")
        go.touch()
        deploy.stack.wait_for(slow, JobStatus.COMPLETED, 40)
        assert set(deploy.stack.bodies().values()) == {1}
