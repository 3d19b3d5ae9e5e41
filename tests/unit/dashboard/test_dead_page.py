"""Dead letters in groups, and acts on a group: preview, rate, progress, every refusal."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from jobs import JobStatus
from recovery.dead import Filter
from tests.support.waiting import wait_until
from tests.unit.dashboard.conftest import Board


def group_of(board: Board) -> str:
    """Fingerprint of the only group."""
    return board.services.letters.groups(Filter())[0].fingerprint


def finished(board: Board, location: str) -> str:
    """Wait for an operation to end; give its page."""
    key = dict(parse_qsl(urlsplit(location).query))["key"]

    def ended() -> bool:
        found = board.services.operations.get(key)
        return found is not None and found.state != "running"

    wait_until(ended, 10, lambda: "the operation ends")
    return str(board.browser().get(location).text)


def test_a_group_is_shown_once_with_its_count(board: Board) -> None:
    for _ in range(3):
        board.failed()
    text = board.browser().get("/dead").text
    assert "3" in text
    assert text.count(group_of(board)) >= 1


def test_a_group_is_retried_after_a_preview(board: Board) -> None:
    jobs = [board.failed() for _ in range(3)]
    browser, mark = board.browser(), group_of(board)
    preview = browser.get("/dead/act", params={"verb": "retry", "fingerprint": mark, "kind": "PERMANENT"})
    assert preview.status_code == 200
    fields = dict(re.findall(r'name="(\w+)"\s+value="([^"]*)"', preview.text))
    answer = browser.post("/dead/act/start", data={**fields, "rate": "500", "reason": "the bank is back"})
    assert answer.status_code == 303
    page = finished(board, answer.headers["location"])
    assert "3" in page
    assert sorted(board.sent) == sorted(job.job_id for job in jobs)
    after = [board.repo.get_job(job.job_id) for job in jobs]
    assert {job.status for job in after} == {JobStatus.PENDING}
    assert {(job.decisions[-1].by, job.decisions[-1].why) for job in after} == {("ada", "the bank is back")}
