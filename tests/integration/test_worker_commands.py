"""`jobclaim worker` on a real worker: start, monitor, health, restart, stop; and ECS's agent told of its jobs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobclaim.cli.commands.worker.local import LocalWorker
from jobclaim.cli.exits import ExitCode
from jobclaim.jobs import JobStatus
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support.ecs_agent import OFF, ON, Agent
from tests.support.endpoints import Endpoint
from tests.support.stack import ROOT, Stack, deployed, jobclaim
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Stack]:
    with deployed(dynamodb_local, elasticmq, tmp_path, run_dir=str(tmp_path / "run"), heartbeat_seconds=2) as made:
        yield made


def submit(stack: Stack, task: str, *args: object) -> str:
    """Write a job and send its message."""
    app = create_app(stack.settings)
    job = app.jobclaim.repo.create_job(task, {"args": list(args), "kwargs": {}})
    publish(app, job)
    return str(job.job_id)


def test_a_worker_is_started_watched_restarted_and_stopped(stack: Stack) -> None:
    worker = LocalWorker.of(stack.settings, "mail")
    started = jobclaim(stack.environment, "worker", "start", "mail", "-q", "default", "-c", "1")
    assert started.returncode == ExitCode.OK, started.stderr
    first = worker.pid
    assert first
    try:
        stack.wait_for([submit(stack, "tests.note", 1)], JobStatus.COMPLETED, 30)
        twice = jobclaim(stack.environment, "worker", "start", "mail")
        assert (twice.returncode, "already runs" in twice.stderr) == (ExitCode.ERROR, True)
        [row] = [json.loads(line) for line in jobclaim(stack.environment, "worker", "monitor").stdout.splitlines()]
        assert (row["state"], row["pid"], row["queues"], row["concurrency"]) == ("alive", first, ["default"], 1)
        assert jobclaim(stack.environment, "worker", "health", "mail").returncode == ExitCode.OK
        inspect = create_app(stack.settings).control.inspect()
        [(node, tasks)] = inspect.registered().items()
        assert "tests.note" in tasks
        assert node.startswith("mail@")
        assert inspect.stats()[node]["pid"] == first

        restarted = jobclaim(stack.environment, "worker", "restart", "mail")
        assert restarted.returncode == ExitCode.OK, restarted.stderr
        assert worker.pid not in (None, first)
        stack.wait_for([submit(stack, "tests.note", 2)], JobStatus.COMPLETED, 30)
    finally:
        stopped = jobclaim(stack.environment, "worker", "stop", "mail")
    assert stopped.returncode == ExitCode.OK, stopped.stderr
    assert not worker.pid
    assert jobclaim(stack.environment, "worker", "monitor").stdout == ""
    assert jobclaim(stack.environment, "worker", "stop", "mail").returncode == ExitCode.NOT_FOUND


def test_health_tells_a_stuck_event_loop_from_one_that_turns(stack: Stack) -> None:
    process = stack.worker("worker", "-c", "1", "-Q", "default")
    worker = LocalWorker.of(stack.settings)
    wait_until(lambda: worker.health(10).ok, 30, "its loop turns")
    process.send(signal.SIGSTOP)
    try:
        wait_until(lambda: not worker.health(6).ok, 30, "the silence is noticed")
        found = jobclaim(stack.environment, "worker", "health", "--max-silence", "6s")
        assert (found.returncode, "stuck or has ended" in found.stderr) == (ExitCode.CHECK_FAILED, True)
    finally:
        process.send(signal.SIGCONT)
    wait_until(lambda: worker.health(6).ok, 30, "it turns again")


def test_a_worker_that_never_ran_is_not_well(stack: Stack) -> None:
    found = jobclaim(stack.environment, "worker", "health", "nobody")
    assert (found.returncode, "does not run on this machine" in found.stderr) == (ExitCode.CHECK_FAILED, True)


def test_health_imports_neither_celery_nor_boto3(stack: Stack) -> None:
    code = (
        "import sys; sys.argv = ['jobclaim', 'worker', 'health', 'nobody']\n"
        "from jobclaim.cli.main import main\n"
        "try: main()\n"
        "finally: print({'celery', 'kombu', 'boto3', 'botocore'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=stack.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_ecs_hears_of_a_job_and_of_its_end(stack: Stack, tmp_path: Path) -> None:
    with Agent() as agent:
        worker = stack.worker("worker", "-c", "1", "-Q", "default", env={"ECS_AGENT_URI": agent.base})
        release = tmp_path / "release"
        job_id = submit(stack, "tests.wait_for_file", str(release))
        wait_until(lambda: agent.told == [ON], 30, "the task is protected")
        release.touch()
        stack.wait_for([job_id], JobStatus.COMPLETED, 30)
        wait_until(lambda: agent.told == [ON, OFF], 30, "the task is free")
        assert worker.stop(30) == 0
        assert agent.told == [ON, OFF]


def test_units_leave_the_children_to_the_worker_and_the_worker_its_time() -> None:
    unit = (ROOT / "deploy" / "systemd" / "jobclaim-worker@.service").read_text()
    values = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    assert values["KillMode"] == "mixed"
    assert int(values["TimeoutStopSec"]) > 120
    assert Path(values["ExecStart"].split()[0]).name == "jobclaim"
