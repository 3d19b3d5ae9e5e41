"""The list of jobs: filters in the address, paging by a cursor, what is hidden, and the page's budget."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from jobclaim.dashboard.meter import Budget, Metered, metered
from jobclaim.dashboard.queries import walk
from jobclaim.dashboard.queries.walk import Found, Walk, find
from jobclaim.jobs import JobStatus
from jobclaim.jobs.storage.listing import state_keys
from tests.unit.dashboard.conftest import Board

WIDE = Budget(1_000, 100_000)


def shown(board: Board, address: str) -> list[str]:
    """Ids of the jobs that a page of the API lists."""
    answer = board.browser().get(f"/api/v1/jobs{address}")
    assert answer.status_code == 200, answer.text
    return [row["job_id"] for row in answer.json()["items"]]


def next_of(text: str) -> str | None:
    """Address of the page behind a page."""
    found = re.search(r'href="([^"]*cursor=[^"]*)"', text)
    return html.unescape(found[1]) if found else None


def pages(board: Board, budget: Budget = WIDE, **fields: Any) -> Iterator[Found]:
    """Read a list of open jobs, page by page, each with a meter of its own."""
    keys = state_keys(JobStatus.PENDING, ["default", "mail"], board.settings.index_shards)
    cursor = None
    while True:
        wanted = {"keep": lambda job: True, "limit": 7, "newest_first": False, **fields}
        with metered(budget) as meter:
            found = find(board.services, Walk(partitions=keys, scope="test", cursor=cursor, **wanted), meter)
        assert meter.requests <= budget.requests
        assert meter.read_units <= budget.read_units
        yield found
        cursor = found.cursor
        if cursor is None:
            return


@pytest.mark.parametrize("newest_first", [False, True])
def test_pages_show_each_job_exactly_once_and_in_order(board: Board, newest_first: bool) -> None:
    expected = []
    for n in range(90):
        expected.append(board.job(queue="mail" if n % 3 else "default").job_id)
        board.clock.advance(0 if n % 4 else 1)  # several jobs at the same millisecond
    found = [job for page in pages(board, newest_first=newest_first) for job in page.jobs]
    assert sorted(job.job_id for job in found) == sorted(expected)
    times = [job.available_at for job in found]
    assert times == sorted(times, reverse=newest_first)


def test_a_page_is_as_long_as_asked_while_there_are_jobs(board: Board) -> None:
    for _ in range(20):
        board.job()
    assert [len(page.jobs) for page in pages(board)] == [7, 7, 6]


def test_a_filter_that_fits_little_stops_and_goes_on_behind_the_cursor(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "LOOKED_AT", 10)
    jobs = [board.job(task="rare" if n in (15, 55) else "usual") for n in range(60)]
    rare = {job.job_id for job in jobs if job.task == "rare"}
    looked = list(pages(board, keep=lambda job: job.task == "rare", looked_at=10))
    assert {job.job_id for page in looked for job in page.jobs} == rare
    assert all(page.looked_at <= 10 for page in looked)
    assert looked[0].stopped.startswith("Stopped after 10 jobs")


class Heavy:
    """A DynamoDB client for which every item is as large as an item can be."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def batch_get_item(self, **request: Any) -> Any:
        answer = self._client.batch_get_item(**request)
        read = sum(map(len, answer["Responses"].values()))
        return {**answer, "ConsumedCapacity": [{"CapacityUnits": read * walk.HEAVIEST}]}


def test_large_jobs_end_the_page_before_its_budget_is_exceeded(board: Board) -> None:
    for _ in range(12):
        board.job()
    board.services = replace(board.services, dynamodb=Metered(Heavy(board.repo.table.client()), capacity=True))
    found = list(pages(board, Budget(200, 6 * walk.HEAVIEST), limit=12))
    assert len(found) > 1
    assert sum(len(page.jobs) for page in found) == 12
    assert all(page.jobs for page in found)


def test_a_cursor_of_another_list_is_refused(board: Board) -> None:
    for _ in range(3):
        board.job()
    first = board.browser().get("/api/v1/jobs?limit=1").json()
    answer = board.browser().get("/api/v1/jobs", params={"cursor": first["cursor"], "status": "FAILED"})
    assert answer.status_code == 400
    assert "does not continue this list" in answer.json()["error"]["message"]


def test_filters_combine(board: Board) -> None:
    wanted = board.failed("shop.charge", error=ValueError("no"), queue="mail")
    board.failed("shop.charge", error=KeyError("no"), queue="mail")
    board.failed("shop.charge", error=ValueError("no"))
    board.failed("mail.send", error=ValueError("no"), queue="mail")
    board.job("shop.charge", queue="mail")
    address = "?status=failed&queue=mail&task=shop.*&exception=ValueError&worker=worker-1&since=1h"
    assert shown(board, address) == [wanted.job_id]


def test_times_bound_when_a_job_was_submitted(board: Board) -> None:
    old = board.failed()
    board.clock.advance(3_600)
    new = board.failed()
    assert shown(board, "?status=FAILED&since=30m") == [new.job_id]
    assert shown(board, "?status=FAILED&before=2096-10-02T07:36:40Z") == [old.job_id]
    assert shown(board, "?status=FAILED&after=2096-10-02T07:36:40Z") == [new.job_id]


def test_several_states_are_one_list(board: Board) -> None:
    ids = {board.failed().job_id, board.job().job_id}
    assert set(shown(board, "?status=FAILED&status=PENDING")) == ids


def test_ended_jobs_come_newest_first_and_open_ones_oldest_first(board: Board) -> None:
    first = board.failed()
    board.clock.advance(1)
    second = board.failed()
    assert shown(board, "?status=FAILED") == [second.job_id, first.job_id]
    assert shown(board, "?status=FAILED&order=oldest") == [first.job_id, second.job_id]


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("?status=DONE", "use one of"),
        ("?queue=nowhere", "not among the queues"),
        ("?kind=TRANSIENTT", "did you mean TRANSIENT"),
        ("?state=WAITNG", "did you mean WAITING"),
        ("?since=soon", "write 10m, 2h ago"),
        ("?limit=0", "from 1 to 200"),
        ("?limit=9999999999999999999", "from 1 to 200"),
        ("?limit=%C2%B2", "from 1 to 200"),
        ("?order=random", "oldest or newest"),
        ("?task=" + "x" * 301, "300 are allowed"),
        ("?cursor=nonsense", "does not continue"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_what_to_do(board: Board, address: str, hint: str) -> None:
    answer = board.browser().get(f"/jobs{address}")
    assert answer.status_code == 400
    assert hint in html.unescape(answer.text)


def test_the_next_page_keeps_the_filters(board: Board) -> None:
    for _ in range(3):
        board.failed("shop.charge")
    text = board.browser().get("/jobs?status=FAILED&task=shop.*&limit=2").text
    address = next_of(text)
    assert address is not None
    assert "status=FAILED" in address
    assert "task=shop." in address
    assert board.browser().get(address).status_code == 200


def test_completed_jobs_that_the_table_does_not_list_are_no_silent_gap(make_board: Callable[..., Board]) -> None:
    board = make_board(index_completed=False)
    assert "JOBCLAIM_INDEX_COMPLETED" in board.browser().get("/jobs?status=COMPLETED").text


def test_completed_jobs_are_listed_where_the_table_has_them(make_board: Callable[..., Board]) -> None:
    board = make_board()
    job = board.job()
    board.repo.claim_job(job.job_id)
    board.repo.update_status(job.job_id, "COMPLETED", result=1)
    assert shown(board, "?status=COMPLETED") == [job.job_id]


def test_no_argument_and_no_message_is_shown_unless_settings_allow_it(board: Board) -> None:
    board.failed(
        payload={"args": ["tok_secret"], "kwargs": {"card": "card-4111-1111"}}, error="declined card-4111-1111"
    )
    for address in ("/jobs?status=FAILED", "/api/v1/jobs?status=FAILED"):
        text = board.browser().get(address).text
        assert "tok_secret" not in text
        assert "card-4111-1111" not in text


def test_viewers_of_the_same_second_share_one_read(board: Board) -> None:
    board.job()
    browser = board.browser()
    first = browser.get("/api/v1/jobs").headers["x-jobclaim-cost"]
    second = browser.get("/api/v1/jobs").headers["x-jobclaim-cost"]
    board.clock.advance(1.1)
    third = browser.get("/api/v1/jobs").headers["x-jobclaim-cost"]
    assert not first.startswith("0 of")
    assert second.startswith("0 of")
    assert "shared" in second
    assert not third.startswith("0 of")


def test_links_follow_the_place_where_the_app_is_mounted(board: Board) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.testclient import TestClient

    from jobclaim.dashboard import create_app

    app = create_app(board.settings, services=board.services, access=lambda _: board.person)
    outer = Starlette(routes=[Mount("/ops/jobs-admin", app)])
    text = TestClient(outer, base_url="http://127.0.0.1").get("/ops/jobs-admin/jobs").text
    assert "/ops/jobs-admin/static/app.css" in text
    links = re.findall(r'(?:href|action|src)="(/[^"]*)"', text)
    assert links
    assert all(link.startswith("/ops/jobs-admin/") for link in links)
