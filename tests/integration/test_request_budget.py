"""What a job costs in requests and write units from submission to result, with a real worker on the counting stub."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.stub import RunningStub, running_stub
from jobclaim.fleet.statistics import read_task
from jobclaim.infra import provision
from jobclaim.jobs import JobStatus
from jobclaim.jobs.clock import system_clock
from jobclaim.settings import Settings
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support.processes import ManagedProcess
from tests.support.stack import READY, ROOT
from tests.support.waiting import wait_until

JOBS = 200
PROCESSES = 4


def test_a_job_costs_four_requests_and_its_share_of_receives_and_deletes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_stub() as stub:
        for name, value in stub.settings(
            JOBCLAIM_TASK_MODULES='["bench.claim_tasks"]', JOBCLAIM_INDEX_COMPLETED="true"
        ).items():
            monkeypatch.setenv(name, value)
        settings = Settings()
        provision(settings)
        stub.control(reset=True)
        submit(settings)
        argv = [sys.executable, "-m", "celery", "-A", "jobclaim", "worker", "-c", str(PROCESSES), "-Q", "default"]
        with ManagedProcess("worker", argv, log_dir=tmp_path, env=dict(os.environ), cwd=ROOT) as worker:
            worker.wait_for_line(READY, 120)
            wait_until(lambda: is_done(stub), 60, lambda: f"{JOBS} jobs are done: {stub.control()['requests']}")
        meter = stub.control()
        runs = read_task(create_app(settings).jobclaim.repo.table, "bench.nothing", system_clock())

    requests, units = meter["requests"], meter["units"]["jobclaim-jobs"]
    assert requests["SendMessage"] == requests["PutItem jobclaim-jobs"] == JOBS
    statistics = requests["UpdateItem jobclaim-jobs"] - 2 * JOBS  # beside a claim and a result of each job
    assert 0 < statistics <= 2 * (PROCESSES + 1), "of the task and of all tasks, when a process or the main one ends"
    assert runs.last_day(system_clock()).runs == JOBS
    assert "GetItem jobclaim-jobs" not in requests
    assert requests.get("GetQueueAttributes", 0) <= 5, "at the start only"
    assert "DeleteMessage" not in requests
    assert requests["DeleteMessageBatch"] <= 0.5 * JOBS
    made = units["write table"] + units["write index"] - 6 * JOBS - statistics
    assert made in (2, 4), "the first write of the two items of a day puts them into the index; midnight may pass"
    assert units.get("read table", 0) == 0


def submit(settings: Settings) -> None:
    """Write the jobs and send their messages."""
    app = create_app(settings)
    for number in range(JOBS):
        job = app.jobclaim.repo.create_job("bench.nothing", {"args": [number], "kwargs": {}})
        assert job.status is JobStatus.PENDING
        publish(app, job)


def is_done(stub: RunningStub) -> bool:
    """Whether every message is deleted and every result written."""
    meter = stub.control()
    depth = meter["depth"]["jobclaim-default"].values()
    return all(count == "0" for count in depth) and meter["requests"].get("UpdateItem jobclaim-jobs", 0) >= 2 * JOBS
