"""Submitting from the dashboard, and running an ended job with another payload: checks, links, trail, and who may."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable

import pytest
from celery import shared_task

from jobclaim.dashboard import Person, Role
from jobclaim.fleet.audit import Audit
from jobclaim.fleet.registered import RegisteredTasks, digest_of
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import Job, JobStatus
from jobclaim.workers import JobTask
from tests.unit.dashboard.conftest import Board

pytestmark = pytest.mark.embedded

TASK = "board.charge"


@shared_task(base=JobTask, name=TASK)
def charge(invoice: int, *, currency: str = "EUR") -> int:
    """Stand for a user's task; no worker runs it here."""
    return invoice


@pytest.fixture
def open_board(make_board: Callable[..., Board]) -> Board:
    """A dashboard that shows arguments."""
    return make_board(dashboard_arguments=("*",))


def landed(board: Board, location: str) -> Job:
    """The job whose page a form has led to."""
    return board.repo.get_job(re.findall(r"[?&]id=([^&]+)", location)[0])


def test_an_operator_submits_a_job_with_all_its_options(board: Board) -> None:
    fields = {
        "task": TASK,
        "args": "[42]",
        "kwargs": '{"currency": "USD"}',
        "queue": "mail",
        "delay": "10m",
        "key": "k",
    }
    answer = board.browser().post("/submit/start", data=fields)
    assert answer.status_code == 303, answer.text
    job = landed(board, answer.headers["location"])
    assert (job.task, job.queue, job.status) == (TASK, "mail", JobStatus.PENDING)
    assert job.payload == {"args": [42], "kwargs": {"currency": "USD"}}
    assert job.available_at - job.created_at == pytest.approx(600_000, abs=5_000)
    assert "Submitted." in html.unescape(board.browser().get(answer.headers["location"]).text)
    [entry] = Audit.of(board.repo).entries()
    assert (entry.verb, entry.by, entry.face, entry.what) == ("submit", "ada", "dashboard", f"{TASK} {job.job_id}")
    again = board.browser().post("/submit/start", data=fields)
    assert landed(board, again.headers["location"]) == job
    assert "exists already" in html.unescape(board.browser().get(again.headers["location"]).text)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"task": "board.chrage"}, "did you mean 'board.charge'"),
        ({"args": "[1, 2, 3]"}, "do not fit task"),
        ({"args": "{}"}, "args is not the right kind of JSON"),
        ({"kwargs": "{"}, "kwargs is not JSON"),
        ({"queue": "nowhere"}, "nowhere"),
        ({"delay": "soon"}, "delay: 'soon' is not a duration"),
        ({"task": ""}, "task is empty"),
    ],
)
def test_a_form_that_is_refused_is_shown_again_with_what_was_typed(
    board: Board, fields: dict[str, str], reason: str
) -> None:
    typed = {"task": TASK, "args": "[42]", "kwargs": '{"currency": "USD"}', **fields}
    answer = board.browser().post("/submit/start", data=typed)
    assert answer.status_code == 400
    shown = html.unescape(answer.text)
    assert reason in shown
    assert typed["kwargs"] in shown
    assert board.repo.list_jobs("PENDING").jobs == ()
    assert Audit.of(board.repo).entries() == []


def test_the_tasks_of_living_workers_can_be_chosen(board: Board) -> None:
    names = ["shop.a", "shop.b"]
    RegisteredTasks.of(board.repo).write(names)
    FleetRecords.of(board.repo).beat(
        WorkerRecord(worker_id="w", seen_at=board.clock(), started_at=board.clock(), tasks=digest_of(names))
    )
    shown = board.browser().get("/submit").text
    assert re.findall(r'<option value="([^"]+)">', shown) == names
    board.clock.advance(3600)
    assert "No live worker" in board.browser().get("/submit").text


def test_only_operators_submit_and_edit(board: Board) -> None:
    old = board.failed(TASK)
    board.person = Person("eve", Role.VIEWER)
    browser = board.browser()
    assert browser.post("/submit/start", data={"task": TASK, "args": "[1]"}).status_code == 403
    assert browser.post("/job/edit/start", data={"id": old.job_id, "payload": '{"args": [2]}'}).status_code == 403
    assert "only operators submit" in browser.get("/submit").text
    assert "Submit a job…" not in browser.get("/jobs").text
    assert "Edit and retry…" not in browser.get("/job", params={"id": old.job_id}).text
    assert board.repo.list_jobs("PENDING").jobs == ()


def test_an_ended_job_is_run_with_another_payload_and_both_pages_name_the_other(open_board: Board) -> None:
    board = open_board
    old = board.failed(TASK)
    browser = board.browser()
    assert "Edit and retry…" in browser.get("/job", params={"id": old.job_id}).text
    form = html.unescape(browser.get("/job/edit", params={"id": old.job_id}).text)
    payload = json.loads(re.findall(r"<textarea[^>]*>(.*?)</textarea>", form, re.DOTALL)[0])
    assert payload == old.payload
    payload["args"] = [2]
    fields = {"id": old.job_id, "payload": json.dumps(payload), "resolve": "yes", "reason": "wrong amount"}

    answer = browser.post("/job/edit/start", data=fields)

    assert answer.status_code == 303, answer.text
    new = landed(board, answer.headers["location"])
    assert (new.payload["args"], new.status) == ([2], JobStatus.PENDING)
    assert board.repo.get_job(old.job_id).dead_state == "RESOLVED"
    assert board.repo.get_job(old.job_id).payload == old.payload
    shown = html.unescape(browser.get(answer.headers["location"]).text)
    assert "with the edited payload" in shown
    assert "edited from" in shown
    assert "edited as" in html.unescape(browser.get("/job", params={"id": old.job_id}).text)
    [entry] = Audit.of(board.repo).entries()
    assert (entry.verb, entry.by, entry.why) == ("retry", "ada", "wrong amount")
    assert "[2]" not in str(entry)


def test_what_is_hidden_is_never_written_back(board: Board) -> None:
    old = board.failed(TASK)
    browser = board.browser()
    form = html.unescape(browser.get("/job/edit", params={"id": old.job_id}).text)
    [payload] = re.findall(r"<textarea[^>]*>(.*?)</textarea>", form, re.DOTALL)
    assert "[hidden]" in payload
    answer = browser.post("/job/edit/start", data={"id": old.job_id, "payload": payload})
    assert answer.status_code == 400
    assert "is the placeholder of a hidden value" in html.unescape(answer.text)
    assert board.repo.list_jobs("PENDING").jobs == ()


def test_an_open_job_cannot_be_edited(open_board: Board) -> None:
    job = open_board.job(TASK)
    browser = open_board.browser()
    assert "It is PENDING: cancel it first" in html.unescape(browser.get("/job/edit", params={"id": job.job_id}).text)
    answer = browser.post("/job/edit/start", data={"id": job.job_id, "payload": '{"args": [2], "kwargs": {}}'})
    assert answer.status_code == 400
    assert browser.get("/job/edit", params={"id": "nobody"}).status_code == 404
