"""A shop's day on the operating pages: what they tell, within their budgets, changing nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from jobclaim.dashboard import Person, Role, create_app
from jobclaim.dashboard.meter import metered
from jobclaim.dashboard.queries import queues, reconcile, schedules, workers
from jobclaim.dashboard.services import Services
from jobclaim.jobs import JobStatus
from tests.support.clock import START_MS
from tests.support.dashboard_data import DEAD, ORPHAN, RUNNING, WORKERS, shop

SECOND = 1_000
BUDGETS = {"queues": queues, "workers": workers, "schedules": schedules, "reconcile": reconcile}


def look(services: Services) -> queues.QueuesView:
    services.shared.forget()
    with metered(queues.budget(services.settings)) as meter:
        return queues.read(services, meter)


def fleet_view(services: Services) -> workers.WorkersView:
    services.shared.forget()
    with metered(workers.budget(services.settings)) as meter:
        return workers.read(services, meter)


@pytest.fixture(scope="module")
def filled() -> Iterator[Services]:
    """A shop with jobs in every state; the clock stands still."""
    with shop(lambda: START_MS) as services:
        yield services


@pytest.fixture(scope="module")
def browser(filled: Services) -> TestClient:
    """An operator's browser on it."""
    return signed_in(filled)


@pytest.mark.parametrize("name", BUDGETS)
def test_a_page_stays_within_its_budget_and_states_what_it_cost(
    filled: Services, browser: TestClient, name: str
) -> None:
    filled.shared.forget()
    answer = browser.get(f"/{name}")
    assert answer.status_code == 200
    found = re.search(r"This view cost (\d+) of (\d+) requests, ([\d.]+) of ([\d.]+) read units", answer.text)
    assert found is not None
    used, allowed, units, most = (float(figure) for figure in found.groups())
    assert 0 < used <= allowed
    assert 0 < units <= most
    budget = BUDGETS[name].budget(filled.settings)
    assert (allowed, most) == (budget.requests, budget.read_units)


def signed_in(services: Services) -> TestClient:
    """An operator's browser."""
    app = create_app(services=services, access=lambda scope: Person("ada", Role.OPERATOR))
    return TestClient(app, base_url="http://127.0.0.1:8484")


def test_queues_come_by_priority_with_their_sla(filled: Services) -> None:
    seen = {queue.name: queue for queue in look(filled).queues}
    assert next(iter(seen)) == "critical"
    late = seen["reports"]
    assert (late.state, late.oldest_ms, late.burn.value) == ("late", 214 * SECOND, "357%")
    assert late.oldest is not None
    assert late.oldest.task == "reports.customer_export"
    assert seen["email"].state == "at risk"
    assert seen["critical"].state == "ok"
    assert seen["email"].later == 1, "what is due tomorrow does not wait"


def test_the_fleet_tells_the_living_from_the_dead_and_what_they_run(filled: Services) -> None:
    seen = fleet_view(filled)
    assert seen.counts == {"alive": 3, "stopping": 1, "dead": 1}
    assert seen.workers[0].worker_id == DEAD, "what needs a look comes first"
    batch = next(one for one in seen.workers if one.worker_id == WORKERS[1])
    runs = {one.job_id: one for one in batch.running}
    assert runs[RUNNING].ran_ms == round(13.6 * 60 * SECOND)
    job = runs[ORPHAN].job
    assert job is not None
    assert job.attempt == 2
    assert seen.versions == ("1.14.1", "1.14.2")
    assert "recovery" in seen.unheard, "its only worker is stopping"


def test_last_results_are_found_by_the_ids_that_beat_gives(filled: Services) -> None:
    filled.shared.forget()
    with metered(schedules.budget(filled.settings)) as meter:
        seen = {one.name: one for one in schedules.read(filled, meter).schedules}
    statuses = [tick.job.status if tick.job else None for tick in seen["sync-warehouse"].last]
    assert statuses[:3] == [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.COMPLETED]
    assert seen["monthly-invoices"].last[-1].job is None, "its retention is over"
    assert seen["nightly-revenue"].next[0] > START_MS


def test_findings_of_the_schedules_are_on_the_page(browser: TestClient) -> None:
    html = browser.get("/schedules").text
    assert "expires after 300 s but fires every 60 s, so ticks pile up" in html
    assert "lower expires to 60" in html


def test_the_page_compares_jobs_and_messages_and_says_where_they_differ(filled: Services, browser: TestClient) -> None:
    filled.shared.forget()
    html = browser.get("/reconcile").text
    assert "runs in batch-5e77@ip-10-0-3-62, which is lost or deregistered" in html
    assert "jobclaim audit --reconcile" in html


def test_schedules_workers_and_queues_lead_to_all_their_jobs(browser: TestClient) -> None:
    pages = {"schedules": "id=", "workers": "worker=", "queues": "queue="}
    every = "&".join(f"status={status}" for status in JobStatus)
    for page, criterion in pages.items():
        text = html.unescape(browser.get(f"/{page}").text)
        links = [link for link in re.findall(r'href="(/jobs\?[^"]+)"', text) if criterion in link and every in link]
        assert links, page
        found = [browser.get(link) for link in links]
        assert {answer.status_code for answer in found} == {200}
        assert any('href="/job?id=' in answer.text for answer in found), f"no job behind a link of {page}"


def test_looking_changes_nothing(filled: Services, browser: TestClient) -> None:
    def everything() -> list[object]:
        tables = (filled.settings.job_table, filled.settings.fleet_table)
        return [filled.dynamodb.scan(TableName=table)["Items"] for table in tables]

    before = everything()
    for name in BUDGETS:
        filled.shared.forget()
        browser.get(f"/{name}")
    assert everything() == before


def test_a_mounted_dashboard_links_under_its_mount_point(filled: Services) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    inner = create_app(services=filled, access=lambda scope: Person("ada", Role.OPERATOR))
    client = TestClient(Starlette(routes=[Mount("/ops/jobs", inner)]), base_url="http://127.0.0.1:8484")
    for name in BUDGETS:
        html = client.get(f"/ops/jobs/{name}").text
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"', html)
        assert links
        assert all(link.startswith("/ops/jobs/") for link in links), [
            x for x in links if not x.startswith("/ops/jobs/")
        ]
