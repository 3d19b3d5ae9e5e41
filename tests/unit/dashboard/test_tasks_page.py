"""The tasks: what ran, how it went, and what is unusual about it."""

from __future__ import annotations

from collections import Counter

from jobclaim.jobs.storage.statistics import HOUR_MS, Code, requests
from tests.unit.dashboard.conftest import Board


def ran(board: Board, task: str, ago: int, code: Code, number: int) -> None:
    """Write runs that ended some hours ago."""
    counted = Counter({(board.clock() // HOUR_MS - ago, task, str(code)): number})
    for request in requests(counted, board.settings.job_table):
        board.repo.table.client().update_item(**request)


def test_a_task_that_ran_is_listed_with_its_figures_and_has_a_page(board: Board) -> None:
    job = board.job("shop.charge")
    board.clock.advance(0.4)
    board.repo.claim_job(job.job_id)
    board.clock.advance(2)
    board.repo.update_status(job.job_id, "COMPLETED")
    board.failed("shop.charge")
    board.repo.flush()
    page = board.browser().get("/tasks").text
    assert "/task?name=shop.charge" in page
    assert "50 %" in page
    one = board.browser().get("/api/v1/task?name=shop.charge").json()
    assert (one["task"]["runs"], one["task"]["failure_rate"], one["hours"][-1]["completed"]) == (2, 0.5, 1)
    assert 0.83 * 2000 < one["task"]["p50_ms"] < 1.17 * 2000
    assert board.browser().get("/task?name=shop.charge").status_code == 200


def test_what_is_unusual_about_a_task_is_on_its_pages_and_on_the_overview(board: Board) -> None:
    ran(board, "shop.charge", 30, Code.COMPLETED, 996)
    ran(board, "shop.charge", 30, Code.FAILED, 4)
    ran(board, "shop.charge", 0, Code.COMPLETED, 88)
    ran(board, "shop.charge", 0, Code.RETRIED, 12)
    for path in ("/tasks", "/task?name=shop.charge", "/"):
        assert "ails 12 % of its 100 runs since" in board.browser().get(path).text, path


def test_a_name_that_no_task_can_have_is_refused(board: Board) -> None:
    assert board.browser().get("/task", params={"name": "x" * 300}).status_code == 400


def test_switched_off_statistics_are_said_to_be_off(make_board: object) -> None:
    board: Board = make_board(statistics=False)  # type: ignore[operator]
    board.failed()
    board.repo.flush()
    page = board.browser().get("/tasks").text
    assert "Statistics are off" in page
    assert "No task has run" in page
