"""What is fuzzed: an app with its table in memory, a command line and a dashboard on the same table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, shared_task

from jobclaim import install
from jobclaim.cli.session import Session
from jobclaim.dashboard import Person, Role, Services, create_app
from jobclaim.dashboard.meter import Metered
from jobclaim.jobs import Job
from jobclaim.settings import QueueSpec, Settings
from jobclaim.testing import Harness
from jobclaim.workers import JobTask

RAN: list[str] = []
"""Names of the tasks whose bodies have run."""
MONTH_MS = 30 * 86_400_000


@shared_task(base=JobTask, bind=True, name="fuzz.job")
def job(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Be a job."""
    RAN.append("fuzz.job")
    return [args, kwargs]


@shared_task(base=JobTask, name="fuzz.guarded")
def guarded(*args: Any) -> None:
    """Be on a queue that takes no plain message."""
    RAN.append("fuzz.guarded")


@shared_task(name="fuzz.plain")
def plain(*args: Any, **kwargs: Any) -> None:
    """Be no job."""
    RAN.append("fuzz.plain")


class NoQueues:
    """SQS without a message."""

    def get_queue_url(self, **asked: Any) -> Any:
        return {"QueueUrl": f"http://127.0.0.1/1/{asked['QueueName']}"}

    def get_queue_attributes(self, **_: Any) -> Any:
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return {"Attributes": dict.fromkeys((*names, "ApproximateNumberOfMessagesDelayed"), "0")}


class World:
    """One world; its victims are jobs that no message may touch."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.app = harness.app
        self.repo = harness.repo
        self.session = Session(app=self.app)
        vars(self.session)["repo"] = self.repo
        client = Metered(self.repo.table.client(), capacity=False)
        self.services = Services(
            self.repo.settings, client, Metered(NoQueues(), capacity=False), lambda *_: None, clock=harness.clock
        )
        operator = Person("ada", Role.OPERATOR)
        self.dashboard = create_app(services=self.services, access=lambda _: operator)
        self.victims: list[Job] = []

    def victim(self, **options: Any) -> Job:
        """A job that waits."""
        made = self.repo.create_job("fuzz.guarded", {"args": [1], "kwargs": {}}, queue="mail", **options)
        self.victims.append(made)
        return made

    def touched(self) -> list[str]:
        """Ids of victims that are not as they were, and of bodies that must not run."""
        now = [self.repo.get_job(each.job_id) for each in self.victims]
        changed = [each.job_id for each, after in zip(self.victims, now, strict=True) if after != each]
        return changed + [name for name in RAN if name == "fuzz.guarded"]


@contextmanager
def world() -> Iterator[World]:
    """Make a world."""
    RAN.clear()
    app = Celery("fuzz", set_as_current=False)
    mail = QueueSpec(name="mail", adopt_plain_messages=False)
    install(app, Settings(queues=(QueueSpec(name="default"), mail), dashboard_arguments=("*",), dashboard_results=True))
    with Harness.of(app) as harness:
        made = World(harness)
        try:
            yield made
        finally:
            made.services.close()
