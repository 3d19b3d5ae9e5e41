"""Two apps with different settings in one process keep apart: tables, queues, endpoints, log lines, metrics."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
import structlog
from celery import Celery
from moto import mock_aws
from structlog.testing import capture_logs

import jobclaim
from jobclaim.infra import provision
from jobclaim.jobs import log
from jobclaim.settings import QueueSpec, Settings
from jobclaim.workers import JobTask, apps
from jobclaim.workers.scope import contained

NAMES = ("shop", "mail")
CALLS = 4


def settings_of(name: str) -> Settings:
    """Settings that share nothing but the region."""
    return Settings(
        job_table=f"{name}-jobs",
        fleet_table=f"{name}-fleet",
        queue_prefix=f"{name}-",
        queues=(QueueSpec(name=name), QueueSpec(name="default")),
        log_arguments=("number",) if name == "shop" else (),
    )


def work(number: int = 0) -> int:
    """Give it back."""
    return number


@pytest.fixture
def two_apps() -> Iterator[dict[str, Celery]]:
    """Two apps whose task has the same name, both installed and provisioned."""
    with mock_aws():
        made = {}
        for name in NAMES:
            app = Celery(name, set_as_current=False)
            jobclaim.install(app, settings_of(name))
            provision(app.jobclaim.settings)
            app.task(base=JobTask, name="work", queue=name, shared=False)(work)
            made[name] = app
        yield made


def items(name: str) -> list[Any]:
    return boto3.resource("dynamodb").Table(f"{name}-jobs").scan()["Items"]


def messages(name: str, queue: str) -> int:
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=f"{name}-{queue}")["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(found["Attributes"]["ApproximateNumberOfMessages"])


def test_each_apps_jobs_and_messages_land_in_its_own_table_and_queue(two_apps: dict[str, Celery]) -> None:
    ids = {name: app.tasks["work"].delay(number=1).id for name, app in two_apps.items()}
    for name in NAMES:
        assert [item["job_id"] for item in items(name)] == [ids[name]]
        assert messages(name, name) == 1
        assert messages(name, "default") == 0


def test_they_keep_apart_from_threads_that_use_both(two_apps: dict[str, Celery]) -> None:
    def submit(number: int) -> None:
        for app in two_apps.values():
            app.tasks["work"].apply_async(kwargs={"number": number}, queue="default")

    for app in two_apps.values():
        app.tasks["work"].delay()  # moto's clients are no part of the test, and are made by one thread
    with ThreadPoolExecutor(1) as pool:
        list(pool.map(submit, range(CALLS)))
    for name in NAMES:
        assert len(items(name)) == CALLS + 1
        assert messages(name, "default") == CALLS


def test_lines_say_which_app_they_are_about_and_show_what_its_settings_allow(two_apps: dict[str, Celery]) -> None:
    with capture_logs() as lines:
        for app in two_apps.values():
            app.tasks["work"].delay(number=7)
    told = {line["app"]: line.get("arguments") for line in lines if line["event"] == "job.submitted"}
    assert told == {"shop": {"number": 7}, "mail": None}


def test_an_attempts_lines_are_its_own_apps(two_apps: dict[str, Celery]) -> None:
    speaker = log.get_logger("jobclaim.worker")
    with capture_logs() as lines:
        for app in two_apps.values():
            contained(lambda: speaker.info("claimed"), app.tasks["work"])()
        speaker.info("claimed")
    assert [line.get("app") for line in lines] == ["shop", "mail", None]


def test_only_the_observed_apps_events_are_measured(two_apps: dict[str, Celery]) -> None:
    heard: list[str] = []
    shop, mail = (two_apps[name].jobclaim for name in NAMES)
    log.observe("test", lambda _, __, line: heard.append(line["event"]), shop)
    try:
        for name in NAMES:
            two_apps[name].tasks["work"].delay()
        with log.speaking_for(mail):
            log.get_logger("jobclaim.worker").info("job.completed")
        log.get_logger("jobclaim.worker").info("recovery.pass_completed")  # a thread of the process's own: its worker's
    finally:
        log.observe("test", None)
    assert heard == ["job.submitted", "recovery.pass_completed"]


def test_a_job_context_ends_with_its_attempt_even_where_it_raises(two_apps: dict[str, Celery]) -> None:
    def attempt() -> None:
        structlog.contextvars.bind_contextvars(job_id="j-1")
        raise SystemExit

    with pytest.raises(SystemExit):
        contained(attempt, two_apps["shop"].tasks["work"])()
    assert structlog.contextvars.get_contextvars() == {}


def test_of_apps_with_equal_settings_the_current_one_sends() -> None:
    settings = Settings(job_table="equal")
    first, second = apps.create_app(settings), apps.create_app(settings)
    first.set_current()
    assert apps.app_for(settings) is first
    second.set_current()
    assert apps.app_for(settings) is second
