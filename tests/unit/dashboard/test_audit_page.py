"""The page of the audit trail, its search, and the same by API and command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobclaim.fleet.acting import acted
from tests.unit.dashboard.conftest import Board
from tests.unit.test_cli_jobs import aws, make_session, run, session

__all__ = ["aws", "make_session", "session"]  # fixtures
API = "/api/v1/audit"


@pytest.fixture
def filled(board: Board) -> Board:
    for number in range(120):
        board.clock.advance(60)
        acted(board.repo, "retry" if number % 2 else "pause", what=f"job-{number}", why="<b>", by=f"person{number % 3}")
    return board


def found(board: Board, **asked: Any) -> list[str]:
    answer = board.browser().get(API, params=asked)
    assert answer.status_code == 200, answer.text
    return [row["what"] for row in answer.json()["items"]]


def test_the_page_shows_who_did_what_and_continues(filled: Board) -> None:
    browser = filled.browser()
    first = browser.get("/audit").text
    assert "job-119" in first
    assert "job-70" in first
    assert "job-69" not in first
    assert "&lt;b&gt;" in first
    after = browser.get(API).json()["cursor"]
    assert "job-69" in browser.get("/audit", params={"cursor": after}).text


def test_it_is_searched_by_who_what_and_when(filled: Board) -> None:
    assert found(filled, what="job-77") == ["job-77"]
    assert len(found(filled, verb="pause", since="10m")) == 5
    assert set(found(filled, who="person2", since="10m")) == {"job-119", "job-116", "job-113", "job-110"}
    assert "Nothing among" in filled.browser().get("/audit", params={"who": "nobody"}).text


def test_jobs_are_linked_and_the_command_of_a_search_is_safe_to_paste(board: Board) -> None:
    job = board.job()
    acted(board.repo, "retry", what=job.job_id, by="ada")
    acted(board.repo, "pause", what="queue mail", by="ada")
    page = board.browser().get("/audit", params={"who": "ada", "what": "$(reboot) it's"}).text
    assert "jobclaim trail --who ada --what &#39;$(reboot) it&#39;&#34;&#39;&#34;&#39;s&#39;" in page
    page = board.browser().get("/audit").text
    assert f'href="/job?id={job.job_id}">{job.job_id}</a>' in page
    assert ">queue mail</span>" in page


@pytest.mark.parametrize(
    "asked",
    [
        {"since": "soon"},
        {"who": "x" * 301},
        {"cursor": "x"},
        {"cursor": "WzEsIDJd"},
        {"cursor": "WzEsICJcdWQ4MDAiXQ=="},
    ],
)
def test_nonsense_is_refused(board: Board, asked: dict[str, str]) -> None:
    assert board.browser().get(API, params=asked).status_code == 400
    assert board.browser().get("/audit", params=asked).status_code == 400


def test_the_command_line_searches_it_too(session: Any) -> None:
    for number in range(3):
        acted(session.repo, "retry", what=f"job-{number}", by="ada")
    rows = [json.loads(line) for line in run(session, "trail", "--what", "job-1", "-o", "jsonl").stdout.splitlines()]
    assert [(row["what"], row["by"], row["face"]) for row in rows] == [("job-1", "ada", "python")]
    assert "arn:aws:sts" in rows[0]["arn"]
    assert "There are more than 2" in run(session, "trail", "-n", "2").stderr
    assert "No matching entry" in run(session, "trail", "--who", "eve", "-o", "table").output
