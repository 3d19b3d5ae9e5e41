"""`/healthz` and `/metrics`: what they say, what they cost, and that labels cannot break the format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parsed
from starlette.testclient import TestClient

from jobclaim.dashboard.meter import Budget
from jobclaim.dashboard.queries import metrics
from jobclaim.dashboard.queries.metrics import Gauge, text
from jobclaim.fleet.workers import WorkerRecord
from tests.unit.dashboard.conftest import Board


def values(browser: TestClient) -> dict[tuple[Any, ...], float]:
    """Scrape, by name and labels."""
    answer = browser.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name.removeprefix("jobclaim_"), *sample.labels.values()): sample.value
        for family in parsed(answer.text)
        for sample in family.samples
    }


def beat(board: Board, name: str, *, jobs: tuple[str, ...] = (), ago: float = 0) -> None:
    now = board.clock()
    record = WorkerRecord(
        worker_id=name, seen_at=now - round(ago * 1000), started_at=now, queues=("default",), jobs=jobs, concurrency=4
    )
    board.services.fleet.beat(record)


def test_health_asks_nobody(board: Board) -> None:
    def must_not(*_: Any, **__: Any) -> Any:
        raise AssertionError("asked")

    board.services.dynamodb.scan = must_not
    assert board.browser().get("/healthz").text == "ok\n"


def test_it_tells_depths_age_fleet_and_dead_letters(board: Board) -> None:
    waiting = board.job()
    board.failed()
    board.failed()
    url = board.services.sqs.get_queue_url(QueueName=board.settings.physical_name("default"))["QueueUrl"]
    board.services.sqs.send_message(QueueUrl=url, MessageBody="{}")
    board.clock.advance(30)
    beat(board, "ann", jobs=("a", "b"))
    beat(board, "bob", ago=3600)
    found = values(board.browser())
    assert waiting.job_id
    assert found["queue_messages", "default", "visible"] == 1
    assert found["queue_jobs", "default", "waiting"] == 1
    assert found["queue_oldest_waiting_seconds", "default"] == 30
    assert found["queue_sla_burn_ratio", "default"] == 0.5
    assert found["queue_jobs", "mail", "waiting"] == 0
    assert found["queue_workers", "default"] == 1
    assert found["workers", "alive"] == 1
    assert found["workers", "dead"] == 1
    assert found[("worker_slots",)] == 4
    assert found[("worker_jobs_running",)] == 2
    assert found[("dead_letters_waiting",)] == 2


def test_it_tells_which_breaker_is_open(board: Board) -> None:
    from jobclaim.fleet.breaker import Breaker

    shop = Breaker(name="shop", failures=1)
    board.services.breakers.failed(shop)
    found = values(board.browser())
    assert [found["breaker_state", "shop", state] for state in ("closed", "half open", "open")] == [0, 0, 1]


def test_many_who_scrape_read_once_in_five_seconds(board: Board) -> None:
    asked: list[str] = []
    scan = board.services.dynamodb.scan

    def counted(**request: Any) -> Any:
        asked.append("scan")
        return scan(**request)

    board.services.dynamodb.scan = counted
    browser = board.browser()
    for _ in range(5):
        values(browser)
    assert len(asked) == 1
    board.clock.advance(6)
    values(browser)
    assert len(asked) == 2


def test_it_stays_within_its_budget_however_many_jobs_there_are(make_board: Callable[..., Board]) -> None:
    board = make_board()
    for _ in range(150):
        board.failed()
        board.job()
    assert values(board.browser())[("dead_letters_waiting",)] == 150
    assert metrics.budget(board.settings).requests < 60
    assert isinstance(metrics.budget(board.settings), Budget)


def test_a_hostile_label_is_one_label() -> None:
    hostile = 'a"} 7\njobclaim_workers{state="alive\\'
    [family] = parsed(text(Gauge("breaker_state", "x", (({"breaker": hostile}, 1.0),))))
    [sample] = family.samples
    assert sample.labels == {"breaker": hostile}


def test_one_slow_view_reads_the_fleet_once(board: Board) -> None:
    """However long its other reads take: else it would show two states of it, and cost more than it says."""
    asked: list[str] = []
    scan, query = board.services.dynamodb.scan, board.services.dynamodb.query

    def counted(**request: Any) -> Any:
        asked.append("scan")
        return scan(**request)

    def slow(**request: Any) -> Any:
        board.clock.advance(2)
        return query(**request)

    board.services.dynamodb.scan, board.services.dynamodb.query = counted, slow
    for page in ("/", "/reconcile", "/metrics"):
        asked.clear()
        assert board.browser().get(page).status_code == 200
        assert asked == ["scan"], page
