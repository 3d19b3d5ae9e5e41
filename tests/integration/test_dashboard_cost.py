"""Each page of the dashboard costs the same on a table of any size, within its budget, as it says itself.

``DASHBOARD_JOBS=1000000`` loads so many; ``python -m bench.dashboard`` measures the time of the pages too.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.testclient import TestClient

from bench import many_jobs
from jobclaim.dashboard import Person, Role, create_app
from jobclaim.dashboard.pages import PageRoute
from jobclaim.dashboard.routes import ROUTES
from jobclaim.dashboard.services import Services
from jobclaim.fleet.workers import FleetRecords
from jobclaim.infra import provision
from tests.support.endpoints import Endpoint, unique_name

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
JOBS = int(os.environ.get("DASHBOARD_JOBS", "24000"))
FIRST = min(JOBS // 2, 12_000)
"""Enough that every partition of the index holds more than a view reads of it."""
SAID = re.compile(r"([\d.]+) of (\d+) requests, ([\d.]+) of ([\d.]+) read units")
CONTINUES = re.compile(r'href="([^"]*/jobs\?[^"]*cursor=[^"]*)"')
FAILED = many_jobs.job_id(42)


@dataclass
class Watched:
    """Services whose requests are counted below everything that counts them itself.

    Attributes
    ----------
    operations : list of str
        Names of the requests that went out since `forget`.
    """

    services: Services
    browser: TestClient
    operations: list[str] = field(default_factory=list)
    now: int = field(default_factory=lambda: int(time.time() * 1000))
    _loaded: int = 0

    def grow(self, jobs: int) -> None:
        """Load what is missing to so many jobs."""
        many_jobs.load(self.services.settings, jobs, self.now, start=self._loaded)
        self._loaded = jobs

    def view(self, address: str) -> tuple[int, float, str]:
        """Look at a page as the only viewer; give requests, read units and the page, as far as they are as it says."""
        self.services.shared.forget()
        self.operations.clear()
        answer = self.browser.get(address)
        assert answer.status_code == 200, (address, answer.text)
        assert self.operations.count("Scan") <= 1, "of the fleet's table"
        found = SAID.search(answer.headers.get("X-Jobclaim-Cost") or answer.text)
        if found is None:  # metrics have no room for it
            return len(self.operations), 0.0, answer.text
        requests, most, units, most_units = (float(number) for number in found.groups())
        assert requests == len(self.operations), (address, self.operations)
        assert requests <= most
        assert units <= most_units
        return len(self.operations), units, answer.text


@pytest.fixture(scope="module")
def watched(dynamodb_local: Endpoint, elasticmq: Endpoint) -> Iterator[Watched]:
    """One table for all tests; the first test needs it at its `FIRST` jobs, the last one lets it grow."""
    name = unique_name("t")
    settings = many_jobs.settings(
        dynamodb_endpoint_url=dynamodb_local.endpoint_url,
        sqs_endpoint_url=elasticmq.endpoint_url,
        job_table=f"{name}-jobs",
        fleet_table=f"{name}-fleet",
        queue_prefix=f"{name}-",
    )
    provision(settings)
    operations: list[str] = []
    lock = threading.Lock()

    def count(event_name: str, **_: Any) -> None:
        with lock:
            operations.append(event_name.rpartition(".")[2])

    services = Services.of(settings)
    for events in (services.dynamodb.access.hooks, services.sqs.meta.events):
        events.register("before-send.*.*", count)  # the last that is asked before a request leaves
    ann = Person("ann", Role.OPERATOR)
    app = create_app(settings, services=services, access=lambda _: ann)
    try:
        yield Watched(services, TestClient(app, base_url="http://127.0.0.1"), operations)
    finally:
        services.close()


def addresses() -> dict[str, list[str]]:
    """By the path of a page, what is asked of it."""
    act = f"/dead/act?verb=retry&kind=PERMANENT&fingerprint={1:016x}"
    filters = ["status=FAILED", "status=COMPLETED", "status=FAILED&task=none", "queue=email&task=shop.*&limit=200"]
    return {
        "/": ["/"],
        "/jobs": ["/jobs", *(f"/jobs?{asked}" for asked in filters)],
        "/jobs/cancel": ["/jobs/cancel?queue=email&task=shop.*"],
        "/job/edit": [f"/job/edit?id={FAILED}"],
        "/submit": ["/submit"],
        "/job": [f"/job?id={FAILED}"],
        "/dead": ["/dead", "/dead?state=SCHEDULED"],
        "/dead/act": [act],
        "/dead/operation": ["/dead/operation?key=none"],
        "/tasks": ["/tasks"],
        "/task": ["/task?name=shop.pay"],
        "/queues": ["/queues"],
        "/workers": ["/workers"],
        "/schedules": ["/schedules"],
        "/reconcile": ["/reconcile"],
        "/audit": ["/audit", "/audit?who=nobody"],
        "/metrics": ["/metrics"],
        "/api/v1/jobs": ["/api/v1/jobs", "/api/v1/jobs?status=FAILED"],
        "/api/v1/job": [f"/api/v1/job?id={FAILED}"],
    }


def test_the_pages_that_are_measured_are_all_there_are() -> None:
    pages = {route.path for route in ROUTES if isinstance(route, PageRoute) and "GET" in (route.methods or ())}
    assert {path for path in pages if not path.startswith("/api/")} <= addresses().keys()


def test_a_page_far_into_a_list_costs_as_the_first(watched: Watched) -> None:
    watched.grow(FIRST)
    address: str | None = "/jobs?status=COMPLETED"
    costs: list[tuple[int, float]] = []
    seen: list[str] = []
    while address and len(costs) < 10:
        requests, units, page = watched.view(address)
        costs.append((requests, units))
        seen += re.findall(r'href="[^"]*/job\?id=(job-\d+)"', page)
        following = CONTINUES.search(page)
        address = following[1].replace("&amp;", "&") if following else None
    assert len(costs) == 10
    assert max(requests for requests, _ in costs) <= 2 * costs[0][0]
    assert max(units for _, units in costs) <= 2 * costs[0][1]
    assert len(set(seen)) == 10 * 50, "no job is shown twice, none is passed over"
    assert sorted(set(seen)) == sorted(many_jobs.job_id(n) for n in range(80, 2600) if n % 100 >= 80)[:500]


def test_every_page_costs_the_same_on_a_table_of_twice_the_size_and_more(watched: Watched) -> None:
    """Takes 20 s: thousands of jobs are written for the pages to read."""
    for record in many_jobs.workers(watched.now):
        FleetRecords.of(watched.services.repo).beat(record)
    asked = [address for several in addresses().values() for address in several]
    costs: dict[int, dict[str, tuple[int, float]]] = {}
    for size in (FIRST, JOBS):
        watched.grow(size)
        watched.view("/metrics")  # asks where the queues are, which is remembered
        costs[size] = {address: watched.view(address)[:2] for address in asked}
    for address in asked:
        print(address, *(costs[size][address] for size in costs))  # noqa: T201
    assert costs[FIRST] == costs[JOBS]
