"""`jobclaim worker all`: one machine runs every group of the settings, recovery and beat, and stops them again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jobclaim.cli.commands.worker.machine import members
from jobclaim.cli.errors import Refused
from jobclaim.infra import local_aws, provision
from jobclaim.jobs import JobRepo, JobStatus
from jobclaim.settings import QueueSpec, Settings, WorkerGroup
from tests.support.endpoints import unique_name
from tests.support.stack import EVIDENCE, ROOT, jobclaim, variables
from tests.support.waiting import wait_until

LIMITS = {"soft_limit": 20, "hard_limit": 30}
NAMES = ["mail", "recovery", "beat"]


def worker_all(environment: dict[str, str], *words: str, code: int = 0) -> list[dict[str, Any]]:
    done = jobclaim(environment, "worker", "all", *words, "-o", "jsonl", timeout=110)
    assert done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_machine_starts_and_stops_all_that_the_settings_ask_for(tmp_path: Path) -> None:
    """Takes 20 s: each of the machine's workers and its beat is started, drained and started again."""
    name = unique_name("all")
    with local_aws(Settings()) as local:
        settings = Settings(
            endpoint_url=local.endpoint_url,
            job_table=f"{name}-jobs",
            fleet_table=f"{name}-fleet",
            queue_prefix=f"{name}-",
            queues=(QueueSpec(name="default", **LIMITS),),
            worker_groups={"mail": WorkerGroup(queues=("default",), concurrency=1)},
            task_modules=("tests.support.tasks",),
            wait_time_seconds=1,
            run_dir=str(tmp_path / "run"),
        )
        provision(settings)
        environment = {
            **os.environ,
            **variables(settings),
            EVIDENCE: str(tmp_path / "evidence"),
            "PYTHONPATH": str(ROOT),
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
        try:
            assert [row["state"] for row in worker_all(environment, "status", code=4)] == ["stopped"] * 3
            started = worker_all(environment, "start")
            assert [row["worker"] for row in started] == NAMES
            again = worker_all(environment, "start")
            assert [row["pid"] for row in again] == [row["pid"] for row in started], "what runs is left alone"
            restarted = worker_all(environment, "restart")
            assert not {row["pid"] for row in restarted} & {row["pid"] for row in started}
            assert [row["state"] for row in worker_all(environment, "status")] == ["running"] * 3
            repo = JobRepo.from_settings(settings)
            submitted = jobclaim(environment, "submit", "tests.note", "-o", "ids")
            assert submitted.returncode == 0, submitted.stderr
            job_id = submitted.stdout.strip()
            wait_until(
                lambda: repo.get_job(job_id).status is JobStatus.COMPLETED, 60, lambda: str(repo.get_job(job_id))
            )
        finally:
            stopped = worker_all(environment, "stop", "--within", "30s")
        assert sorted(row["worker"] for row in stopped) == sorted(NAMES)
        assert [row["state"] for row in worker_all(environment, "status", code=4)] == ["stopped"] * 3


def test_the_settings_say_what_runs() -> None:
    assert [member.worker.name for member in members(Settings())] == ["workers", "recovery", "beat"]
    assert [member.worker.name for member in members(Settings(recovery_by_beat=False))] == ["workers", "beat"]
    with pytest.raises(Refused, match="worker group 'beat' has the name of"):
        list(members(Settings(worker_groups={"beat": WorkerGroup(queues=("default",))})))
