"""A dashboard on tables and queues in memory, a clock that only the test moves, and jobs in every state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import pytest
from anyio.from_thread import start_blocking_portal
from moto import mock_aws
from starlette.testclient import TestClient

from jobclaim.dashboard import Person, Role, create_app
from jobclaim.dashboard.meter import Metered
from jobclaim.dashboard.services import Services
from jobclaim.dashboard.sharing import Shared
from jobclaim.infra.tables import ensure_table, table_specs
from jobclaim.jobs import Job, JobRepo
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.storage.connect import client
from jobclaim.settings import QueueSpec, Settings
from tests.conftest import FAKE_AWS
from tests.simulation.client import ModelClient
from tests.support.clock import ManualClock
from tests.support.endpoints import unique_name
from tests.support.waiting import wait_until


@dataclass
class Board:
    """A dashboard under test.

    Attributes
    ----------
    sent : list
        Ids of the jobs whose messages were sent.
    """

    settings: Settings
    repo: JobRepo
    services: Services
    clock: ManualClock
    person: Person = field(default_factory=lambda: Person("ada", Role.OPERATOR))
    sent: list[str] = field(default_factory=list)

    def browser(self, **options: Any) -> TestClient:
        """Give a client; signed in as ``person``."""
        app = create_app(self.settings, services=self.services, access=lambda scope: self.person)
        own_page = {"sec-fetch-site": "same-origin"}
        return TestClient(app, base_url="http://127.0.0.1:8484", follow_redirects=False, headers=own_page, **options)

    def finished(self, location: str) -> str:
        """Wait for an operation to end; give its page."""
        key = dict(parse_qsl(urlsplit(location).query))["key"]

        def ended() -> bool:
            found = self.services.operations.get(key)
            return found is not None and found.state != "running"

        wait_until(ended, 30, lambda: "the operation ends")
        return str(self.browser().get(location).text)

    def job(self, task: str = "shop.charge", **options: Any) -> Job:
        """Submit a job."""
        return self.repo.create_job(task, options.pop("payload", {"args": [1], "kwargs": {}}), **options)

    def failed(self, task: str = "shop.charge", error: Any = "declined", **options: Any) -> Job:
        """Submit a job that fails."""
        job = self.job(task, **options)
        self.repo.claim_job(job.job_id, worker_id="worker-1")
        return self.repo.update_status(job.job_id, "FAILED", error=error)


@pytest.fixture(autouse=True, scope="module")
def one_event_loop() -> Iterator[None]:
    """All requests of a file on one event loop: each would start a thread and a loop, and end them."""
    with start_blocking_portal() as portal, mock.patch.object(TestClient, "portal", portal):
        yield


@dataclass(frozen=True)
class Cloud:
    """AWS in memory, and clients for it: making them takes longer than most tests."""

    dynamodb: Any
    sqs: Any


@pytest.fixture(scope="module")
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """One AWS in memory for all tests of a file; each board has tables and queues of its own.

    The tables are the simulation's, which reports no read units; modules marked ``embedded`` have moto's.
    """
    with mock.patch.dict(os.environ, FAKE_AWS), mock_aws():
        embedded = request.node.get_closest_marker("embedded")
        yield Cloud(
            client(Settings(), "dynamodb") if embedded else ModelClient(system_clock), client(Settings(), "sqs")
        )


@contextmanager
def in_process(cloud: Cloud, clock: ManualClock, **fields: Any) -> Iterator[Board]:
    """Serve a dashboard on tables and queues of its own."""
    name = unique_name("board")
    settings = Settings(
        queues=(QueueSpec(name="default"), QueueSpec(name="mail")),
        index_shards=2,
        job_table=name,
        fleet_table=f"{name}-fleet",
        queue_prefix=f"{name}-",
        **fields,
    )
    if isinstance(cloud.dynamodb, ModelClient):
        cloud.dynamodb.make_tables(settings.job_table, settings.fleet_table)
    else:
        for spec in table_specs(settings):
            list(ensure_table(cloud.dynamodb, spec, 10))
    for queue in settings.queue_names:
        cloud.sqs.create_queue(QueueName=settings.physical_name(queue))
    sent: list[str] = []
    services = Services(
        settings=settings,
        dynamodb=Metered(cloud.dynamodb, capacity=True),
        sqs=Metered(cloud.sqs, capacity=False),
        send=lambda job, delay: sent.append(job.job_id),
        clock=clock,
        shared=Shared(clock),
    )
    repo = JobRepo.from_settings(settings, client=cloud.dynamodb, clock=clock)
    try:
        yield Board(settings, repo, services, clock, sent=sent)
    finally:
        services.close()


@pytest.fixture
def make_board(cloud: Cloud, clock: ManualClock) -> Iterator[Callable[..., Board]]:
    """Make a dashboard of settings."""
    with ExitStack() as exits:
        yield lambda **fields: exits.enter_context(in_process(cloud, clock, **fields))


@pytest.fixture
def board(make_board: Callable[..., Board]) -> Board:
    """A dashboard that shows no arguments and no results."""
    return make_board()
