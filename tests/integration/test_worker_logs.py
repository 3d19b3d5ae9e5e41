"""What a real worker logs: the host's habits hold, and nothing of a job is left in the process after its attempt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from jobclaim.jobs import JobStatus
from jobclaim.settings import QueueSpec
from jobclaim.workers import apps
from tests.support.endpoints import Endpoint
from tests.support.processes import ManagedProcess
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real

MODULE = "tests.support.logging_tasks"
ENDS = {
    "success": JobStatus.COMPLETED,
    "failure": JobStatus.FAILED,
    "retry": JobStatus.PENDING,
    "snooze": JobStatus.PENDING,
    "ignore": JobStatus.PROCESSING,
    "reject": JobStatus.PROCESSING,
    "soft limit": JobStatus.FAILED,
}


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Stack]:
    """A stack of its own, whose attempts are traced to nowhere."""
    queues = (QueueSpec(name="default", soft_limit=20, hard_limit=30),)
    with deployed(dynamodb_local, elasticmq, tmp_path, queues=queues, task_modules=(MODULE,)) as made:
        yield made


@pytest.fixture
def app(stack: Stack) -> Celery:
    """An app that submits to the stack."""
    made = apps.create_app(stack.settings)
    made.loader.import_default_modules()
    return made


def events(text: str) -> list[dict[str, Any]]:
    """Parse the lines that are JSON, but for one that is still being written."""
    lines = text.splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


def test_the_next_plain_task_finds_nothing_of_a_job_however_its_attempt_ended(stack: Stack, app: Celery) -> None:
    otlp = {"JOBCLAIM_TELEMETRY": "otlp", "JOBCLAIM_TELEMETRY_ENDPOINT": "http://127.0.0.1:9"}
    worker = stack.worker("worker", "-c", "1", "-Q", "default", env=otlp)
    for how in ENDS:
        after = len(worker.log())
        job_id = app.tasks["logs.end"].apply_async((how,)).id
        line = json.loads(worker.wait_for_line(f"body of {how}", 30, after=after))
        assert (line["job_id"], line["task"], line["customer"]) == (job_id, "logs.end", "c-1")
        assert_nothing_is_left(worker, app, how)
    job = stack.wait_for([job_id], JobStatus.FAILED, 30)[job_id]
    after = len(worker.log())
    apps.send(stack.settings, job)
    worker.wait_for_line("claim.refused", 30, after=after)
    assert_nothing_is_left(worker, app, "refused claim")


def assert_nothing_is_left(worker: ManagedProcess, app: Celery, how: str) -> None:
    """Run a plain task in the same process, and see what it found."""
    app.send_task("logs.look", (how,), queue="default")
    line = json.loads(worker.wait_for_line(f"look after {how}: ", 30))
    found = json.loads(line["event"].partition(": ")[2])
    assert found == {"context": {}, "insists": None, "span": False}
    assert "job_id" not in line
    assert line["task"] == "logs.look"


def test_a_plain_task_that_raises_is_logged_as_by_celery_and_a_job_once(stack: Stack, app: Celery) -> None:
    worker = stack.worker("worker", "-c", "1", "-Q", "default")
    app.send_task("logs.plain_failure", queue="default")
    line = json.loads(worker.wait_for_line("raised unexpected", 30))
    assert line["logger"] == "celery.app.trace"
    assert "ValueError('plain trouble')" in line["event"]
    assert "in plain_failure" in line["exception"]
    assert line["exception"].endswith("ValueError: plain trouble")
    assert json.loads(worker.wait_for_line("printed by a plain task", 30))["logger"] == "celery.redirected"
    job_id = app.tasks["logs.end"].delay("failure").id
    stack.wait_for([job_id], JobStatus.FAILED, 30)
    worker.wait_for_line('"event": "job.failed"', 30)
    of_job = {line["logger"] for line in events(worker.log()) if job_id in json.dumps(line)}
    assert of_job >= {"jobclaim.worker", MODULE}
    assert not {name for name in of_job if name.startswith("celery.")}


def test_log_level_and_log_file_are_those_that_were_typed(stack: Stack, app: Celery, tmp_path: Path) -> None:
    pattern = str(tmp_path / "%n%I.log")
    options = ("-c", "1", "-Q", "default", "-n", "shop@%h", "--loglevel", "INFO", "--logfile", pattern)
    stack.celery("worker", "worker", *options, env={"JOBCLAIM_LOG_LEVEL": "ERROR"})
    main, child = tmp_path / "shop.log", tmp_path / "shop-1.log"
    wait_until(lambda: main.exists() and " ready." in main.read_text(), 60, "the main process logs to its file")
    job_id = app.tasks["logs.end"].delay("success").id
    stack.wait_for([job_id], JobStatus.COMPLETED, 30)
    told = '"event": "job.completed"'
    wait_until(lambda: told in main.read_text() + child.read_text(), 30, "whoever records the outcome logs it")
    assert {line["event"] for line in events(child.read_text())} >= {"claim.acquired", "body of success"}


def test_a_log_level_that_was_not_typed_is_that_of_the_settings(stack: Stack, tmp_path: Path) -> None:
    main = tmp_path / "main.log"
    options = ("-c", "1", "-Q", "default", "--logfile", str(main))
    stack.celery("worker", "worker", *options, env={"JOBCLAIM_LOG_LEVEL": "DEBUG"})
    wait_until(lambda: main.exists() and '"level": "debug"' in main.read_text(), 60, "DEBUG is logged")


def test_a_setup_logging_handler_of_the_host_gets_everything_and_nothing_is_added(
    stack: Stack, app: Celery, tmp_path: Path
) -> None:
    host = tmp_path / "host.log"
    env = {"HOST_LOGGING": "setup_logging", "HOST_LOG": str(host)}
    worker = stack.celery("worker", "worker", "-c", "1", "-Q", "default", "-l", "INFO", env=env)
    wait_until(lambda: host.exists() and " ready." in host.read_text(), 60, "the host's log has the worker's lines")
    job_id = app.tasks["logs.end"].delay("success").id
    stack.wait_for([job_id], JobStatus.COMPLETED, 30)
    told = f"job.completed: The job completed job_id={job_id}"
    wait_until(lambda: told in host.read_text(), 30, lambda: f"the job's lines are there: {host.read_text()}")
    assert f"HOST 20 {MODULE}: body of success" in host.read_text()
    assert events(worker.log()) == []


def test_a_root_logger_that_is_not_to_be_hijacked_keeps_its_handlers_and_prints_stay_prints(
    stack: Stack, app: Celery, tmp_path: Path
) -> None:
    host = tmp_path / "host.log"
    env = {"HOST_LOGGING": "keep", "HOST_LOG": str(host)}
    worker = stack.celery("worker", "worker", "-c", "1", "-Q", "default", "-l", "INFO", env=env)
    wait_until(lambda: host.exists() and " ready." in host.read_text(), 60, "the kept handler has the worker's lines")
    job_id = app.tasks["logs.end"].delay("success").id
    told = f"job.completed: The job completed job_id={job_id}"
    wait_until(lambda: told in host.read_text(), 30, lambda: f"the job's lines are there: {host.read_text()}")
    app.send_task("logs.plain_failure", queue="default")
    worker.wait_for_line("^printed by a plain task$", 30)
    wait_until(lambda: "ValueError: plain trouble" in host.read_text(), 30, "and the plain task's traceback")


def test_the_hosts_handlers_of_after_setup_signals_are_called(stack: Stack, tmp_path: Path) -> None:
    host = tmp_path / "host.log"
    env = {"HOST_LOGGING": "after_setup", "HOST_LOG": str(host)}
    stack.worker("worker", "-c", "1", "-Q", "default", env=env)
    stack.celery("beat", "beat", "-s", str(tmp_path / "schedule"), env=env)
    lines = ["logger root 1", "task_logger celery.task 1"]
    wait_until(lambda: host.read_text().splitlines() == lines * 2, 60, lambda: f"both are called: {host.read_text()}")


def test_beat_logs_to_its_file_at_its_level(stack: Stack, tmp_path: Path) -> None:
    main = tmp_path / "beat.log"
    options = ("--loglevel", "INFO", "--logfile", str(tmp_path / "%n.log"), "-s", str(tmp_path / "schedule"))
    stack.celery("beat", "beat", *options, env={"JOBCLAIM_LOG_LEVEL": "ERROR"})
    wait_until(lambda: main.exists() and "beat: Starting" in main.read_text(), 60, "beat logs to its file")
    assert events(main.read_text())[0]["level"] == "info"
