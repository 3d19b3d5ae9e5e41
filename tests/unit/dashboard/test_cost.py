"""What a page costs: counted exactly, shared among viewers, never above the page's budget, whatever the table holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from jobclaim.dashboard.meter import Budget, Meter, Metered, OverBudget, current, metered
from jobclaim.dashboard.pages import PageRoute
from jobclaim.dashboard.routes import ROUTES
from jobclaim.dashboard.sharing import MOST, Shared
from tests.support.clock import ManualClock
from tests.unit.dashboard.conftest import Board, Cloud, in_process

PAGES = [
    route
    for route in ROUTES
    if isinstance(route, PageRoute) and "GET" in (route.methods or ()) and route.path != "/metrics"
]
QUERIES = {
    "/jobs": "?status=PENDING&status=PROCESSING&status=FAILED&status=CANCELLED&task=none&limit=200",
    "/jobs/cancel": "?queue=mail&task=none",
}


class Client:
    """Stands for a DynamoDB client; each read costs 1.5 units."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def query(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        return {"ConsumedCapacity": {"CapacityUnits": 1.5}}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        return {"ConsumedCapacity": [{"CapacityUnits": 2.0}, {"CapacityUnits": 0.5}]}

    def update_item(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        return {}


def test_requests_and_read_units_are_counted() -> None:
    client = Metered(Client(), capacity=True)
    with metered(Budget(10, 10)) as meter:
        client.query()
        client.batch_get_item()
        client.update_item()
    assert (meter.requests, meter.read_units) == (3, 4.0)
    assert meter.words() == "3 of 10 requests, 4 of 10 read units"


def test_only_reads_are_asked_what_they_cost() -> None:
    plain = Client()
    with metered(Budget(10, 10)):
        Metered(plain, capacity=True).query(TableName="t")
        Metered(plain, capacity=True).update_item(TableName="t")
    assert plain.asked == [{"TableName": "t", "ReturnConsumedCapacity": "TOTAL"}, {"TableName": "t"}]


def test_a_request_over_the_budget_is_not_made() -> None:
    plain = Client()
    client = Metered(plain, capacity=True)
    with metered(Budget(2, 100)):
        client.query()
        client.query()
        with pytest.raises(OverBudget, match="2 requests"):
            client.query()
    assert len(plain.asked) == 2


def test_what_runs_outside_a_page_is_not_counted() -> None:
    Metered(Client(), capacity=True).query()
    assert current() is None


def test_side_by_side_reads_are_counted_by_their_own_page(board: Board) -> None:
    client = Metered(Client(), capacity=True)
    with metered(Budget(50, 500)) as one:
        board.services.together([client.query] * 20)
    with metered(Budget(50, 500)) as other:
        board.services.together([client.query] * 5)
    assert (one.requests, one.read_units) == (20, 30.0)
    assert other.requests == 5


def test_an_error_of_one_of_several_reads_is_raised_when_all_have_ended(board: Board) -> None:
    ended: list[int] = []

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        board.services.together([fail, lambda: ended.append(1), lambda: ended.append(2)])
    assert sorted(ended) == [1, 2]


@pytest.fixture(scope="module")
def busy(cloud: Cloud) -> Iterator[Board]:
    """A table with more jobs than a page shows; the tests only read it."""
    with in_process(cloud, ManualClock()) as board:
        fill(board, 70)
        yield board


def fill(board: Board, count: int) -> None:
    """Submit jobs to both queues, and let as many fail."""
    for n in range(count):
        board.job(queue="mail" if n % 2 else "default")
        board.failed(error=ValueError("no") if n % 3 else TimeoutError("no"))


@pytest.mark.parametrize("route", PAGES, ids=lambda route: route.path)
def test_every_page_stays_within_its_budget_and_states_it(busy: Board, route: PageRoute) -> None:
    budget = route.budget(busy.settings)
    path = route.path + QUERIES.get(route.path, "")
    if route.path in ("/job", "/job/edit", "/api/v1/job"):
        path += f"?id={busy.job().job_id}"
    if route.path == "/dead/act":
        path += "?verb=retry&kind=PERMANENT"
    answer = busy.browser().get(path)
    assert answer.status_code == 200, answer.text
    cost = answer.headers.get("x-jobclaim-cost", answer.text)
    assert f"of {budget.requests} requests" in cost
    assert f"of {budget.read_units:g} read units" in cost


def cost_of(board: Board, path: str) -> str:
    """What a view costs, after all shared reads have grown old."""
    board.clock.advance(2)
    found: str = board.browser().get(path).headers["x-jobclaim-cost"]
    return found.partition(";")[0].partition(" of")[0]


def test_the_cost_of_a_page_does_not_grow_with_the_table(board: Board) -> None:
    fill(board, 60)
    paths = ["/api/v1/jobs", "/api/v1/queues", "/api/v1/workers"]
    cost_of(board, "/api/v1/queues")  # the queues' addresses are asked for once
    before = [cost_of(board, path) for path in paths]
    fill(board, 60)
    assert [cost_of(board, path) for path in paths] == before


def test_one_viewer_reads_for_all_who_look_at_the_same_time(clock: ManualClock) -> None:
    shared, reads, begun, go = Shared(clock), [], threading.Event(), threading.Event()

    def read() -> str:
        begun.set()
        go.wait(10)
        reads.append(1)
        return "value"

    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(shared.get("k", read))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go.set()
    for thread in threads:
        thread.join(10)
    assert found == ["value"] * 8
    assert len(reads) == 1


def test_a_read_is_made_anew_when_it_is_old_or_something_was_changed(clock: ManualClock) -> None:
    shared, numbers = Shared(clock), iter(range(10))
    assert shared.get("k", lambda: next(numbers)) == 0
    clock.advance(0.9)
    assert shared.get("k", lambda: next(numbers)) == 0
    clock.advance(0.1)
    assert shared.get("k", lambda: next(numbers)) == 1
    shared.forget()
    assert shared.get("k", lambda: next(numbers)) == 2


def test_a_failed_read_is_not_kept(clock: ManualClock) -> None:
    shared = Shared(clock)

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        shared.get("k", fail)
    assert shared.get("k", lambda: 5) == 5


def test_old_reads_are_forgotten(clock: ManualClock) -> None:
    shared = Shared(clock)
    for n in range(MOST + 10):
        shared.get(n, lambda: "x")
    assert len(shared._slots) == MOST


def test_a_meter_says_when_another_view_had_read(clock: ManualClock) -> None:
    shared = Shared(clock)
    shared.get("k", lambda: 1)
    clock.advance(0.4)
    with metered(Budget(5, 5)) as meter:
        shared.get("k", lambda: 2)
    assert meter.words() == "0 of 5 requests, 0 of 5 read units; shared with a view 400 ms ago"


def test_room_is_asked_before_it_is_used() -> None:
    meter = Meter(Budget(2, 10))
    meter.start()
    assert meter.room()
    assert not meter.room(2)
    assert not meter.room(1, 11)


def test_a_client_that_is_not_signed_in_costs_nothing(board: Board) -> None:
    from jobclaim.dashboard import create_app

    app = create_app(board.settings, services=board.services)
    stranger = TestClient(app, base_url="http://evil.example")
    assert stranger.get("/jobs").status_code in (403, 421)


def test_what_is_too_old_to_be_given_again_is_given_up(clock: ManualClock) -> None:
    shared = Shared(clock)
    shared.get("large", lambda: "x" * 1000)
    shared.get("kept", lambda: "y", fresh_ms=60_000)
    clock.advance(5)
    shared.get("new", lambda: "z")
    assert set(shared._slots) == {"kept", "new"}
