"""The template deployed by CloudFormation, workers on exactly its tables and queues, and changes to a running stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobclaim.infra import local_aws
from jobclaim.infra.doctor import Level, diagnose, gather
from jobclaim.jobs import JobRepo, JobStatus
from jobclaim.settings import QueueSpec, Settings, TaskSpec
from tests.support import warm
from tests.support.endpoints import unique_name
from tests.support.processes import ManagedProcess
from tests.support.stack import EVIDENCE, ROOT
from tests.support.stacks import DeployedStack, deployed_stack
from tests.support.waiting import wait_until
from tests.support.warm import WarmProcess

pytestmark = pytest.mark.filterwarnings("ignore")
JOBCLAIM = str(Path(sys.executable).with_name("jobclaim"))
READY = r"worker@\S+ ready"


def settings(*queues: QueueSpec, **fields: Any) -> Settings:
    """Short limits, and names that no other test uses."""
    name = unique_name("s")
    given = {
        "job_table": f"{name}-jobs",
        "fleet_table": f"{name}-fleet",
        "queue_prefix": f"{name}-",
        "queues": queues or (QueueSpec(name="default", soft_limit=20, hard_limit=30),),
        "task_modules": ("tests.support.tasks",),
        "wait_time_seconds": 1,
        "heartbeat_seconds": 1,
        "worker_dead_after_seconds": 5,
    }
    return Settings(**{**given, **fields})


@pytest.fixture
def aws() -> Iterator[str]:
    """URL of an embedded AWS of its own."""
    with local_aws(Settings()) as local, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield local.endpoint_url


def at(endpoint_url: str, built: Settings, **changes: Any) -> Settings:
    """The same settings, pointed at the embedded AWS."""
    return built.model_copy(update={"endpoint_url": endpoint_url, **changes})


@contextmanager
def container(stack: DeployedStack, family: str, folder: Path) -> Iterator[ManagedProcess]:
    """Run the command of a deployed task definition, with its environment."""
    program, *arguments = stack.container(family)["command"]
    environment = stack.environment(family, folder / family, {EVIDENCE: str(folder / "evidence.txt")})
    argv = [str(Path(sys.executable).with_name(program)), *arguments]
    with WarmProcess(family, argv, log_dir=folder, env=environment, cwd=ROOT) as process:
        if family != "beat":
            process.wait_for_line(READY, 120)
        yield process


def submit(stack: DeployedStack, folder: Path, task: str, *options: str) -> str:
    """Submit a job as somebody outside the stack would; gives its id."""
    run = warm.run(
        [JOBCLAIM, "submit", task, "-o", "ids", *options],
        env=stack.environment("workers", folder / "submitter", {EVIDENCE: str(folder / "evidence.txt")}),
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def wait_for(repo: JobRepo, job_id: str, status: JobStatus, timeout: float = 30) -> None:
    wait_until(lambda: repo.get_job(job_id).status is status, timeout, lambda: f"{job_id} is {repo.get_job(job_id)}")


def wait_for_events(process: ManagedProcess, *names: str) -> None:
    """Wait until it has logged these: a job's state is written before what tells of it."""
    for name in names:
        process.wait_for_line(rf'^{{.*"event": "{name}"', 30)


# --- deploying
@pytest.mark.parametrize("recovery_by", ["beat", "lambda"])
def test_what_is_deployed_is_what_the_doctor_wants(aws: str, recovery_by: str) -> None:
    built = settings(
        QueueSpec(name="default"),
        QueueSpec(name="email", soft_limit=20, hard_limit=30, max_receive_count=3),
        tasks={"long": TaskSpec(queue="email", soft_limit=50, hard_limit=4000)},
    )
    with deployed_stack(aws, built, RecoveryBy=recovery_by) as stack:
        sqs = stack.client("sqs")
        for name in built.queue_names:
            url = sqs.get_queue_url(QueueName=built.physical_name(name))["QueueUrl"]
            live = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
            assert int(live["VisibilityTimeout"]) == built.visibility_timeout(name)
        findings = diagnose(gather(at(aws, built)), built)
        assert [each for each in findings if each.level is Level.FAIL] == []
        assert any("visibility timeout 8000 s" in each.problem for each in findings)


def test_a_worker_runs_jobs_on_the_tables_and_queues_of_the_stack(aws: str, tmp_path: Path) -> None:
    built = settings()
    with deployed_stack(aws, built) as stack, container(stack, "workers", tmp_path) as worker:
        repo = JobRepo.from_settings(at(aws, built))
        job_ids = [submit(stack, tmp_path, "tests.note", "--args", f"[{number}]") for number in range(2)]
        for job_id in job_ids:
            wait_for(repo, job_id, JobStatus.COMPLETED)
        assert [repo.get_job(job_id).result for job_id in job_ids] == [0, 2]
        wait_for_events(worker, "claim.acquired", "job.completed")  # what the metric filters count


def test_beat_and_the_recovery_service_send_a_lost_message_again(aws: str, tmp_path: Path) -> None:
    """Takes 15 s: a lost message is sent again once the job is late for its queue's SLA; both containers start cold."""
    built = settings(
        QueueSpec(name="default", soft_limit=20, hard_limit=30, sla_seconds=1),
        recovery_interval_seconds=1,
        redispatch_min_seconds=2,
    )
    with deployed_stack(aws, built, RecoveryBy="beat") as stack:
        repo = JobRepo.from_settings(at(aws, built))
        job_id = submit(stack, tmp_path, "tests.note")
        sqs = stack.client("sqs")
        url = sqs.get_queue_url(QueueName=built.physical_name("default"))["QueueUrl"]
        (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        with (
            container(stack, "recovery", tmp_path) as recovery,
            container(stack, "beat", tmp_path),
            container(stack, "workers", tmp_path),
        ):
            wait_for(repo, job_id, JobStatus.COMPLETED, 60)
            wait_for_events(recovery, "recovery.pass_completed")
            health = [JOBCLAIM, "worker", "health", "beat", "--max-silence=10m"]
            environment = stack.environment("beat", tmp_path / "beat")
            assert subprocess.run(health, env=environment, cwd=ROOT, timeout=120, check=False).returncode == 0


def test_the_function_sends_a_lost_message_again(aws: str, tmp_path: Path) -> None:
    built = settings(QueueSpec(name="default", soft_limit=20, hard_limit=30, sla_seconds=1), redispatch_min_seconds=1)
    with deployed_stack(aws, built, RecoveryBy="lambda") as stack:
        (function,) = stack.client("lambda").list_functions()["Functions"]
        job_id = submit(stack, tmp_path, "tests.note")
        repo = JobRepo.from_settings(at(aws, built))
        due = repo.get_job(job_id).available_at + 1000 * int(built.redispatch_delay("default"))
        wait_until(lambda: repo.clock() > due, 30, lambda: "the job counts as lost")
        sqs = stack.client("sqs")
        url = sqs.get_queue_url(QueueName=built.physical_name("default"))["QueueUrl"]
        sqs.purge_queue(QueueUrl=url)
        variables = function["Environment"]["Variables"]
        environment = stack.environment("workers", tmp_path) | {
            name: value for name, value in variables.items() if name not in ("JOBCLAIM_QUEUE_URLS", "JOBCLAIM_RUN_DIR")
        }
        code = "from recovery.lambda_handler import handler; print(handler({}, None)['redispatched'])"
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.stdout.strip() == "1", run.stderr
        assert '"event": "recovery.pass_completed"' in run.stderr
        assert sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]


# --- changing time limits
def test_a_longer_time_limit_fails_against_the_old_stack_until_it_is_deployed(aws: str, tmp_path: Path) -> None:
    before = settings()
    after = before.model_copy(
        update={"queues": (QueueSpec(name="default", soft_limit=500, hard_limit=600), *before.queues[1:])}
    )
    with deployed_stack(aws, before, to_be_updated=True) as stack:
        code, out = doctor(stack, after, tmp_path)
        assert code == 4
        assert "visibility timeout is 180 s, but the time limits need 1200 s" in out
        refused = start_with(stack, after, tmp_path)
        assert "visibility timeout is 180 s, but its time limits need 1200 s" in refused
        assert "JOBCLAIM_ALLOW_LOW_VISIBILITY=true" in refused
        stack.update(after)
        assert doctor(stack, after, tmp_path)[0] == 0


def test_a_worker_that_is_told_so_starts_on_a_low_visibility_timeout(aws: str, tmp_path: Path) -> None:
    before = settings()
    after = before.model_copy(
        update={"queues": (QueueSpec(name="default", soft_limit=500, hard_limit=600), *before.queues[1:])}
    )
    with deployed_stack(aws, before, to_be_updated=True) as stack:
        environment = variables_of(stack, after, tmp_path) | {"JOBCLAIM_ALLOW_LOW_VISIBILITY": "true"}
        argv = [JOBCLAIM, "worker", "run", "-q", "default", "-c", "1"]
        with WarmProcess("low", argv, log_dir=tmp_path, env=environment, cwd=ROOT) as process:
            process.wait_for_line(READY, 120)
            assert "queue.visibility_too_low" in process.log()


def variables_of(stack: DeployedStack, built: Settings, folder: Path) -> dict[str, str]:
    """Environment of the stack, but for queues that changed since."""
    queues = json.dumps([queue.model_dump(exclude_unset=True) for queue in built.queues])
    return stack.environment("workers", folder / "run") | {"JOBCLAIM_QUEUES": queues}


def doctor(stack: DeployedStack, built: Settings, folder: Path) -> tuple[int, str]:
    argv = [JOBCLAIM, "doctor", "--problems", "-o", "jsonl"]
    run = warm.run(argv, env=variables_of(stack, built, folder), cwd=ROOT)
    return run.returncode, run.stdout


def start_with(stack: DeployedStack, built: Settings, folder: Path) -> str:
    """Start a worker that must refuse to; gives what it says."""
    argv = [JOBCLAIM, "worker", "run", "-q", "default", "-c", "1"]
    environment = variables_of(stack, built, folder)
    with WarmProcess("refused", argv, log_dir=folder, env=environment, cwd=ROOT) as process:
        assert process.wait_for_exit(60) != 0
        return process.log()


# --- one queue more, one queue less
def test_an_update_with_a_queue_more_and_one_less_loses_no_message_and_stops_no_worker(
    aws: str, tmp_path: Path
) -> None:
    """Takes 15 s: the stack is deployed twice, and workers of both start cold."""
    limits = {"soft_limit": 20, "hard_limit": 30}
    old, new = QueueSpec(name="old", **limits), QueueSpec(name="new", **limits)
    default = QueueSpec(name="default", **limits)
    before = settings(default, old)
    after = before.model_copy(update={"queues": (default, new, before.queues[-1])})
    with deployed_stack(aws, before, to_be_updated=True) as stack:
        repo = JobRepo.from_settings(at(aws, before))
        with container(stack, "workers", tmp_path) as worker:
            release = tmp_path / "release"
            running = submit(stack, tmp_path, "tests.wait_for_file", "--args", json.dumps([str(release)]))
            wait_for(repo, running, JobStatus.PROCESSING)
            worker_pid = worker.pid
            sqs = stack.client("sqs")
            kept = sqs.get_queue_url(QueueName=before.physical_name("old"))["QueueUrl"]
            stack.update(after)
            assert worker.running
            assert os.getpgid(worker_pid)
            release.touch()
            wait_for(repo, running, JobStatus.COMPLETED)
        sqs.send_message(QueueUrl=kept, MessageBody="still here")
        (message,) = sqs.receive_message(QueueUrl=kept, WaitTimeSeconds=2)["Messages"]
        assert message["Body"] == "still here"
        with container(stack, "workers", tmp_path):
            waiting = submit(stack, tmp_path, "tests.note", "--queue", "new")
            wait_for(repo, waiting, JobStatus.COMPLETED)
            assert repo.get_job(running).status is JobStatus.COMPLETED
