"""Resuming from the dashboard and its API: operators, or whoever brings the wait's own token."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobclaim.dashboard import Person, Role
from jobclaim.fleet.audit import Audit
from jobclaim.jobs import Job
from tests.unit.dashboard.conftest import Board

TOKEN = "x-jobclaim-wait-token"
API = "/api/v1/resume"


def waiting(board: Board) -> tuple[Job, str]:
    """A job that waits for an approval, and the token that it gave out."""
    job = board.job()
    assert board.repo.claim_job(job.job_id, worker_id="worker-1") is not None
    token = board.repo.wait_token(job.job_id, "approval")
    board.repo.step(job.job_id, "charge", len, "abc")
    board.repo.progress(job.job_id, 1, 4, "row of ann@example.com", checkpoint={"mail": "ann@example.com"})
    assert board.repo.wait_for(job.job_id, "approval") is None
    return board.repo.get_job(job.job_id), token


def payload_of(board: Board, job: Job) -> object:
    (wait,) = board.repo.get_job(job.job_id).waits
    return wait.payload if wait.resumed_at else "nothing"


def test_an_operator_resumes_a_job_from_its_page_and_the_audit_trail_has_it(board: Board) -> None:
    job, _ = waiting(board)
    page = board.browser().get("/job", params={"id": job.job_id}).text
    assert "Resume approval…" in page
    assert "Waits for approval since" in page
    assert "25% · 1 of 4" in page
    assert "Finished steps" in page
    assert "ann@example.com" not in page, "messages of bodies may quote arguments"

    answer = board.browser().post("/resume", data={"id": job.job_id, "name": "approval", "payload": '{"ok": true}'})

    assert (answer.status_code, board.sent, payload_of(board, job)) == (303, [job.job_id], {"ok": True})
    assert "Resumed: its body continues" in board.browser().get(answer.headers["location"]).text
    (entry,) = Audit.of(board.repo).entries()
    assert (entry.verb, entry.by, entry.what, entry.done) == ("resume", "ada", job.job_id, 1)


def test_messages_of_bodies_are_shown_where_results_are(make_board: Callable[..., Board]) -> None:
    board = make_board(dashboard_results=True)
    job, _ = waiting(board)

    assert "row of ann@example.com" in board.browser().get("/job", params={"id": job.job_id}).text


def test_a_viewer_sees_what_it_waits_for_and_resumes_nothing(board: Board) -> None:
    job, _ = waiting(board)
    board.person = Person("vic", Role.VIEWER)

    page = board.browser().get("/job", params={"id": job.job_id}).text
    assert "Resume approval" in page
    assert 'action="/resume"' not in page
    assert board.browser().post("/resume", data={"id": job.job_id, "name": "approval"}).status_code == 403
    assert board.browser().post(API, data={"id": job.job_id, "name": "approval"}).status_code == 403
    assert payload_of(board, job) == "nothing"


def test_the_waits_own_token_resumes_it_without_a_sign_in_and_shows_nothing(board: Board) -> None:
    job, token = waiting(board)
    board.person = Person("nobody", Role.VIEWER)
    stranger = board.browser()
    stranger.headers.clear()  # a program: no browser, no page of ours
    fields = {"id": job.job_id, "name": "approval", "payload": "1"}

    answer = stranger.post(API, data=fields, headers={TOKEN: token, "host": "127.0.0.1:8484"})

    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"state", "text"}
    assert (board.sent, payload_of(board, job)) == ([job.job_id], 1)
    assert stranger.post(API, data=fields, headers={TOKEN: token, "host": "127.0.0.1:8484"}).status_code == 200
    other = {**fields, "payload": "2"}
    assert stranger.post(API, data=other, headers={TOKEN: token, "host": "127.0.0.1:8484"}).status_code == 409


@pytest.mark.parametrize("wrong", ["x", "0" * 40, "\u00e9"])
def test_a_wrong_token_tells_nothing_and_resumes_nothing(board: Board, wrong: str) -> None:
    job, token = waiting(board)
    board.person = Person("nobody", Role.VIEWER)

    def post(job_id: str, name: str, sent: str) -> int:
        fields = {"id": job_id, "name": name, "payload": "1"}
        return int(board.browser().post(API, data=fields, headers={TOKEN: sent.encode("latin-1")}).status_code)

    assert post(job.job_id, "approval", wrong) == 403
    assert post(job.job_id, "other", token) == 403
    assert post("nothing", "approval", token) == 403
    assert payload_of(board, job) == "nothing"


def test_a_token_is_good_for_nothing_else(board: Board) -> None:
    job, token = waiting(board)
    board.person = Person("nobody", Role.VIEWER)
    browser = board.browser()

    act = browser.post("/api/v1/act", data={"verb": "cancel", "id": job.job_id}, headers={TOKEN: token})

    assert act.status_code == 403
    form = browser.post("/resume", data={"id": job.job_id, "name": "approval"}, headers={TOKEN: token})
    assert form.status_code == 403


def test_what_cannot_be_resumed_is_refused_with_its_reason(board: Board) -> None:
    job, _ = waiting(board)
    browser = board.browser()

    def post(**fields: str) -> tuple[int, str]:
        answer = browser.post(API, data={"id": job.job_id, "name": "approval", **fields})
        return answer.status_code, answer.text

    assert post(payload="yes")[0] == 400
    assert "waits for 'approval', not for 'aproval'" in post(name="aproval")[1]
    assert post(id="nothing")[0] == 404
    assert post(name="sleep/1")[0] == 400


def test_the_api_tells_progress_steps_and_waits(board: Board) -> None:
    job, _ = waiting(board)

    row = board.browser().get("/api/v1/job", params={"id": job.job_id}).json()

    assert (row["waits_for"], row["progress"]["share"], row["progress"]["message"]) == ("approval", 0.25, "[hidden]")
    assert [step["name"] for step in row["steps"]] == ["charge"]
    assert row["checkpoint"] == "[hidden]"
