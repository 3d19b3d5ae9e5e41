"""What a child of a worker must not hold: all that its parent imports or makes before the fork counts in each child."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from bench.stub import running_stub
from jobclaim.infra import provision
from jobclaim.jobs import JobStatus
from jobclaim.settings import Settings
from jobclaim.workers import create_app
from jobclaim.workers.submission.dispatch import publish
from tests.support.processes import ManagedProcess
from tests.support.stack import ROOT
from tests.support.waiting import wait_until

UNUSED: Final = {
    "boto3": "clients that are made only for rare requests",
    "celery.bin.celery": "Celery's other commands",
    "click_repl": "a shell",
    "kombu.transport.SQS": "kombu's transport, which loads boto3",
    "prompt_toolkit": "a shell's terminal",
    "jinja2": "the template",
    "moto": "the embedded AWS",
    "jobclaim.cli.commands.dashboard": "another command",
    "jobclaim.dashboard": "another program",
    "jobclaim.governance": "another program",
    "jobclaim.recovery": "the recovery worker's",
    "jobclaim.testing": "users' tests",
}
"""Modules, each with what it is for."""


def test_a_child_holds_neither_unused_modules_nor_a_boto3_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_stub() as stub:
        for name, value in stub.settings(
            JOBCLAIM_TASK_MODULES='["tests.support.held_by_child"]', JOBCLAIM_RUN_DIR=str(tmp_path / "run")
        ).items():
            monkeypatch.setenv(name, value)
        settings = Settings()
        provision(settings)
        app = create_app(settings)
        job = app.jobclaim.repo.create_job("tests.held_by_child", {"args": [], "kwargs": {}})
        publish(app, job)
        argv = [sys.executable, "-m", "jobclaim", "worker", "run", "-q", "default", "-c", "1"]
        with ManagedProcess("worker", argv, log_dir=tmp_path, env=dict(os.environ), cwd=ROOT):

            def completed() -> Any:
                found = app.jobclaim.repo.get_job(job.job_id)
                return found.result if found.status is JobStatus.COMPLETED else None

            held = wait_until(completed, 60, "the job completed")

    assert held["clients"] == []
    assert sorted(UNUSED.keys() & set(held["modules"])) == []
