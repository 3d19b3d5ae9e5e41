"""A dashboard on tables and queues in memory, a clock that only the test moves, and jobs in every state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.testclient import TestClient

from dashboard import Person, Role, create_app
from dashboard.meter import Metered
from dashboard.services import Services
from dashboard.sharing import Shared
from jobclaim_testing.table import in_memory
from jobs import Job, JobRepo
from jobs.connect import client
from settings import QueueSpec, Settings
from tests.support.clock import ManualClock


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

    def job(self, task: str = "shop.charge", **options: Any) -> Job:
        """Submit a job."""
        return self.repo.create_job(task, options.pop("payload", {"args": [1], "kwargs": {}}), **options)

    def failed(self, task: str = "shop.charge", error: Any = "declined", **options: Any) -> Job:
        """Submit a job that fails."""
        job = self.job(task, **options)
        self.repo.claim_job(job.job_id, worker_id="worker-1")
        return self.repo.update_status(job.job_id, "FAILED", error=error)


@pytest.fixture
def make_board(clock: ManualClock) -> Iterator[Callable[..., Board]]:
    """Make a dashboard of settings; in memory, one at a time."""
    with_tables: list[Any] = []

    def make(**fields: Any) -> Board:
        settings = Settings(queues=(QueueSpec(name="default"), QueueSpec(name="mail")), index_shards=2, **fields)
        context = in_memory(settings)
        dynamodb = context.__enter__()
        with_tables.append(context)
        sqs = client(settings, "sqs")
        for queue in settings.queue_names:
            sqs.create_queue(QueueName=settings.physical_name(queue))
        sent: list[str] = []
        services = Services(
            settings=settings,
            dynamodb=Metered(dynamodb, capacity=True),
            sqs=Metered(sqs, capacity=False),
            send=lambda job, delay: sent.append(job.job_id),
            clock=clock,
            shared=Shared(clock),
        )
        repo = JobRepo.from_settings(settings, client=dynamodb, clock=clock)
        return Board(settings, repo, services, clock, sent=sent)

    yield make
    for context in with_tables:
        context.__exit__(None, None, None)


@pytest.fixture
def board(make_board: Callable[..., Board]) -> Board:
    """A dashboard that shows no arguments and no results."""
    return make_board()
