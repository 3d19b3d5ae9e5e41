"""Pausing on pages and by the API: who may, where it is shown, what is refused."""

from __future__ import annotations

import html
from typing import Any

import pytest

from jobclaim.dashboard import Person, Role
from jobclaim.fleet.audit import Audit
from jobclaim.fleet.pauses import PauseRecords, Subject, pause
from jobclaim.jobs.storage.pauses import Pause, PauseKind
from jobclaim.settings import ScheduleSpec
from jobclaim.workers.schedule.sender import Sender, TickCall
from tests.unit.dashboard.conftest import Board

WHY = "the provider is down"


def active(board: Board) -> list[Pause]:
    """What is paused."""
    return PauseRecords.of(board.repo).read().active(board.clock())


def stop(board: Board, kind: PauseKind, name: str) -> None:
    pause(board.repo, Subject(kind, name), by="ann", reason=WHY)


def text(board: Board, page: str) -> str:
    answer = board.browser().get(page)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


@pytest.mark.parametrize(
    ("kind", "name", "page"),
    [
        ("queue", "default", "/queues"),
        ("task", "shop.charge", "/task?name=shop.charge"),
        ("schedule", "nightly", "/schedules"),
    ],
)
def test_an_operator_pauses_and_resumes(board: Board, kind: str, name: str, page: str) -> None:
    sent = board.browser().post("/pause", data={"kind": kind, "name": name, "reason": WHY, "lasts": "2h"})
    assert (sent.status_code, sent.headers["location"]) == (303, page)
    (one,) = active(board)
    assert (one.subject, one.by, one.reason) == (f"{kind} {name}", "ada", WHY)
    assert one.until - one.since == 7_200_000
    assert board.browser().post("/unpause", data={"kind": kind, "name": name}).status_code == 303
    assert active(board) == []
    assert sorted((entry.verb, entry.what, entry.by) for entry in Audit.of(board.repo).entries()) == [
        ("pause", f"{kind} {name}", "ada"),
        ("unpause", f"{kind} {name}", "ada"),
    ]


def test_a_task_is_paused_on_the_page_of_its_job_and_leads_back_there(board: Board) -> None:
    job = board.job()
    assert 'value="shop.charge"' in text(board, f"/job?id={job.job_id}")
    fields = {"kind": "task", "name": "shop.charge", "reason": WHY, "job": job.job_id}
    sent = board.browser().post("/pause", data=fields)
    assert sent.headers["location"] == f"/job?id={job.job_id}"
    board.services.shared.forget()
    page = text(board, sent.headers["location"])
    assert f"Held: task shop.charge is paused by ada until it is unpaused: {WHY}" in page
    assert "Resume task…" in page


def test_a_task_is_paused_on_its_own_page(board: Board) -> None:
    assert "Pause task…" in text(board, "/task?name=shop.charge")
    stop(board, PauseKind.TASK, "shop.charge")
    board.services.shared.forget()
    page = text(board, "/task?name=shop.charge")
    assert "Resume task…" in page
    assert WHY in page
    board.person = Person("vic", Role.VIEWER)
    assert "Resume task…" not in text(board, "/task?name=shop.charge")


def test_a_queue_is_purged_by_cancelling_its_waiting_jobs(board: Board) -> None:
    waiting = board.job()
    page = text(board, "/queues")
    assert 'href="/jobs/cancel?queue=default&status=PENDING">purge…' in page
    assert waiting.job_id in text(board, "/jobs/cancel?queue=default&status=PENDING")
    board.person = Person("vic", Role.VIEWER)
    assert "purge…" not in text(board, "/queues")


def test_a_pause_is_shown_on_overview_queues_and_schedules(board: Board) -> None:
    stop(board, PauseKind.QUEUE, "default")
    stop(board, PauseKind.TASK, "shop.charge")
    stop(board, PauseKind.SCHEDULE, "jobclaim-nightly")
    overview, queues = text(board, "/"), text(board, "/queues")
    for said in ("queue default", "task shop.charge", "schedule jobclaim-nightly"):
        assert f"{said} is paused by ann until it is unpaused: {WHY}" in overview
    assert queues.count(WHY) >= 3
    assert ">paused<" in queues


def test_a_viewer_sees_pauses_and_may_not_change_them(board: Board) -> None:
    stop(board, PauseKind.QUEUE, "default")
    board.person = Person("vic", Role.VIEWER)
    page = text(board, "/queues")
    assert WHY in page
    assert "Pause queue…" not in page
    assert "Resume queue…" not in page
    for path in ("/pause", "/unpause", "/schedule/run", "/api/v1/pause", "/api/v1/unpause", "/api/v1/schedule/run"):
        fields = {"kind": "queue", "name": "default", "reason": WHY}
        assert board.browser().post(path, data=fields).status_code == 403
    assert len(active(board)) == 1


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"kind": "worker", "name": "w"}, 400, "kind='worker'"),
        ({"kind": "queue", "name": "mial"}, 400, "is not among the queues"),
        ({"kind": "queue", "name": "recovery"}, 400, "belongs to recovery"),
        ({"kind": "queue", "name": "default", "reason": ""}, 400, "reason is empty"),
        ({"kind": "queue", "name": "default", "lasts": "soon"}, 400, "is not a duration"),
    ],
)
def test_a_pause_that_makes_no_sense_is_refused(board: Board, fields: dict[str, str], status: int, says: str) -> None:
    answer = board.browser().post("/pause", data={"reason": WHY, **fields})
    assert answer.status_code == status
    assert says in html.unescape(answer.text)
    assert active(board) == []


def test_what_is_not_paused_cannot_be_resumed(board: Board) -> None:
    assert board.browser().post("/unpause", data={"kind": "queue", "name": "default"}).status_code == 409


def test_programs_pause_list_and_resume(board: Board) -> None:
    browser = board.browser()
    fields = {"kind": "task", "name": "shop.charge", "reason": WHY}
    assert browser.post("/api/v1/pause", data=fields).json()["state"] == "requested"
    (listed,) = browser.get("/api/v1/pauses").json()["items"]
    assert (listed["kind"], listed["name"], listed["until"]) == ("task", "shop.charge", None)
    assert browser.post("/api/v1/unpause", data={"kind": "task", "name": "shop.charge"}).status_code == 200
    assert browser.get("/api/v1/pauses").json()["items"] == []


def test_a_schedule_is_run_now_and_linked_where_it_is_listed(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.settings.schedules["nightly"] = ScheduleSpec(task="shop.charge", cron="0 3 * * *", args=(1,))
    calls: list[TickCall] = []

    def send(_: Any, call: TickCall) -> tuple[Any, bool]:
        calls.append(call)
        return None, True

    monkeypatch.setattr(Sender, "send", send)
    sent = board.browser().post("/schedule/run", data={"id": "nightly", "reason": "the file came late"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/schedules?asked=nightly")
    (call,) = calls
    job_id = call.options["task_id"]
    page = text(board, sent.headers["location"])
    assert f"<code>{job_id}</code>" in page
    assert "by ada" in page
    (entry,) = Audit.of(board.repo).entries()
    assert (entry.verb, entry.what, entry.why) == ("schedule run", f"nightly {job_id}", "the file came late")
    unknown = board.browser().post("/schedule/run", data={"id": "nightyl"})
    assert unknown.status_code == 400
    assert "did you mean 'nightly'" in html.unescape(unknown.text)
