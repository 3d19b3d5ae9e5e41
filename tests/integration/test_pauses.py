"""Pause, resume, run now and purge: by the command line, on a real worker, a real beat and a real recovery."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobclaim.infra import resolve_queue_urls
from jobclaim.infra.clients import sqs_client
from jobclaim.jobs import JobStatus
from jobclaim.settings import QueueSpec
from tests.integration.test_lost_workers import recovering
from tests.support.endpoints import Endpoint
from tests.support.processes import ManagedProcess
from tests.support.stack import Stack, deployed, jobclaim
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
WHY = ("--reason", "the provider is down", "--by", "ann")
OPEN = (JobStatus.PENDING, JobStatus.PROCESSING)
TICK = {"task": "tests.note", "every": 1.0, "args": [1], "expires": 60}


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Stack]:
    with deployed(
        dynamodb_local,
        elasticmq,
        tmp_path,
        task_modules=("tests.support.both_paths", "tests.support.tasks"),
        queues=(QueueSpec(name="default"), QueueSpec(name="mail")),
        schedules={"tick": TICK},
        run_dir=str(tmp_path),
        recovery_by_beat=False,
        recovery_interval_seconds=1,
        heartbeat_seconds=1,
        worker_dead_after_seconds=8,
        redispatch_min_seconds=3,
        lease_grace_seconds=1,
    ) as made:
        yield made


def typed(stack: Stack, *line: str) -> dict[str, Any]:
    """Type a command, and read its record."""
    done = jobclaim(stack.environment, *line, "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def said(process: ManagedProcess, event: str, count: int = 1) -> None:
    wait_until(lambda: process.log().count(f'"{event}"') >= count, 30, f"{process.name} says {event} {count} times")


def test_pauses_a_run_by_hand_and_a_purge_from_the_command_line(stack: Stack) -> None:
    """Takes 20 s: each pause, and the end of each, has to reach a worker."""
    submit, repo = stack.submitter(), stack.repo
    worker = stack.worker("worker", "-Q", "default,mail", "-c", "2")
    beat = stack.celery("beat", "beat", "--pidfile", "")
    with recovering(stack.settings):
        # a queue: its messages stay in SQS
        typed(stack, "pause", "queue", "mail", *WHY)
        said(worker, "pause.started")
        held, free = submit("both.job", "note", queue="mail"), submit("both.job", "note")
        stack.wait_for([free], JobStatus.COMPLETED, 30)
        shown = typed(stack, "show", held)
        assert (shown["status"], shown["attempt"], shown["paused"]["by"]) == ("PENDING", 0, "ann")
        typed(stack, "unpause", "queue", "mail")
        stack.wait_for([held], JobStatus.COMPLETED, 30)

        # a task, on both paths: its messages are dropped, and recovery sends them again
        paths = ("both.job", "both.plain", "both.block")
        for path in paths:
            typed(stack, "pause", "task", path, *WHY)
        said(worker, "pause.started", 4)
        jobs = [submit(path, "note") for path in paths]
        said(worker, "claim.held", 3)
        assert [(job.status, job.attempt) for job in map(repo.get_job, jobs)] == [(JobStatus.PENDING, 0)] * 3
        for path in paths:
            typed(stack, "unpause", "task", path)
        done = stack.wait_for(jobs, JobStatus.COMPLETED, 60)
        assert {(job.attempt, job.charged) for job in done.values()} == {(1, 1)}

        # a schedule, run by hand meanwhile
        typed(stack, "pause", "schedule", "tick", *WHY)
        said(beat, "tick.skipped", 2)
        by_hand = typed(stack, "schedule", "run", "tick", "--reason", "now")["job_id"]
        stack.wait_for([by_hand], JobStatus.COMPLETED, 30)
        wait_until(lambda: not any(repo.list_jobs(state).jobs for state in OPEN), 30, "earlier ticks have ended")
        ticks = set(stack.bodies())
        said(beat, "tick.skipped", beat.log().count('"tick.skipped"') + 2)
        assert set(stack.bodies()) == ticks
        typed(stack, "unpause", "schedule", "tick")
        wait_until(lambda: set(stack.bodies()) - ticks, 30, "the schedule ticks again")

        # a purge: nothing runs, nothing is lost, and its messages are dropped
        typed(stack, "pause", "queue", "mail", *WHY)
        said(worker, "pause.started", 6)
        unwanted = [submit("both.job", "note", queue="mail") for _ in range(3)]
        purged = typed(stack, "purge", "mail", "--reason", "sent twice", "--yes")
        assert (purged["done"], purged["refused"]) == (3, [])
        typed(stack, "unpause", "queue", "mail")
        sqs: Any = sqs_client(stack.settings)
        url = resolve_queue_urls(stack.settings, sqs)["mail"]
        counts = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

        def left() -> int:
            attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(counts))["Attributes"]
            return sum(int(attributes[count]) for count in counts)

        wait_until(lambda: left() == 0, 40, lambda: f"the messages are dropped: {left()} are left")
        assert {repo.get_job(job_id).status for job_id in unwanted} == {JobStatus.CANCELLED}
        assert not set(unwanted) & {job_id for job_id, _ in stack.bodies()}
    assert set(stack.bodies().values()) == {1}
