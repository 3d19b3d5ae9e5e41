"""Cancelling the jobs of a list: preview, progress, what is left alone, and who may."""

from __future__ import annotations

import html
import re
import threading

import pytest

from jobclaim.cli.commands import cancel
from jobclaim.dashboard import Person, Role
from jobclaim.fleet.audit import Audit
from jobclaim.jobs import JobStatus
from tests.unit.dashboard.conftest import Board

LIST = {"queue": "mail", "task": "shop.*", "since": "1h"}


def preview(board: Board, **asked: str) -> tuple[str, dict[str, str]]:
    """The page, and the fields of its form."""
    answer = board.browser().get("/jobs/cancel", params={**LIST, **asked})
    assert answer.status_code == 200, answer.text
    form = answer.text.partition("/jobs/cancel/start")[2]
    fields = dict(re.findall(r'name="(\w+)"[^>]*?value="([^"]*)"', form))
    return html.unescape(answer.text), {name: html.unescape(value) for name, value in fields.items()}


def test_the_jobs_of_a_list_are_cancelled_after_a_preview(board: Board) -> None:
    jobs = [board.job(queue="mail") for _ in range(3)]
    other = board.job()
    listed = html.unescape(board.browser().get("/jobs", params=LIST).text)
    assert "Cancel these…" in listed
    page, fields = preview(board)
    assert "Cancel 3 jobs" in page
    assert {board.repo.get_job(job.job_id).status for job in jobs} == {JobStatus.PENDING}
    board.clock.advance(5)
    later = board.job(queue="mail")

    answer = board.browser().post("/jobs/cancel/start", data={**fields, "reason": "sent twice"})

    assert answer.status_code == 303, answer.text
    shown = html.unescape(board.finished(answer.headers["location"]))
    assert "are CANCELLED" in shown
    after = [board.repo.get_job(job.job_id) for job in jobs]
    assert {job.status for job in after} == {JobStatus.CANCELLED}
    assert {job.failure and job.failure.message for job in after} == {"cancelled by ada: sent twice"}
    assert {board.repo.get_job(job.job_id).status for job in (other, later)} == {JobStatus.PENDING}
    [entry] = Audit.of(board.repo).entries()
    assert (entry.verb, entry.by, entry.face, entry.done, entry.why) == ("cancel", "ada", "dashboard", 3, "sent twice")
    assert "queue=mail" in entry.what


def test_an_operation_that_has_not_reported_yet_is_shown(board: Board) -> None:
    board.job(queue="mail")
    _, fields = preview(board)
    go = threading.Event()
    board.services.cancels._sleep = lambda _: go.wait(10)  # type: ignore[assignment]
    location = board.browser().post("/jobs/cancel/start", data=fields).headers["location"]
    assert board.browser().get(location).status_code == 200
    go.set()
    assert "are CANCELLED" in html.unescape(board.finished(location))


def test_an_unknown_operation_leads_back_to_its_preview(board: Board) -> None:
    board.job(queue="mail")
    _, fields = preview(board)
    location = board.browser().post("/jobs/cancel/start", data=fields).headers["location"]
    html.unescape(board.finished(location))
    lost = re.sub(r"key=\w+", "key=0", location)
    shown = html.unescape(board.browser().get(lost).text)
    [again] = re.findall(r'href="(/jobs/cancel\?[^"]*)"', shown)
    assert board.browser().get(again).status_code == 200
    assert "queue=mail" in again


def test_a_list_without_a_filter_or_of_ended_jobs_has_no_such_act(board: Board) -> None:
    board.failed()
    board.job()
    browser = board.browser()
    assert "Cancel these…" not in browser.get("/jobs").text
    assert "Cancel these…" not in browser.get("/jobs", params={"status": "FAILED", "queue": "default"}).text
    assert browser.get("/jobs/cancel").status_code == 400
    assert browser.get("/jobs/cancel", params={"status": "FAILED", "queue": "default"}).status_code == 400


def test_only_operators_cancel(board: Board) -> None:
    job = board.job(queue="mail")
    _, fields = preview(board)
    board.person = Person("eve", Role.VIEWER)
    assert "Cancel these…" not in board.browser().get("/jobs", params=LIST).text
    assert board.browser().post("/jobs/cancel/start", data=fields).status_code == 403
    assert board.repo.get_job(job.job_id).status is JobStatus.PENDING


@pytest.mark.parametrize("asked", [{}, {"status": "PENDING"}, {"id": "order-*", "worker": "w"}])
def test_the_command_that_is_shown_is_one(board: Board, asked: dict[str, str]) -> None:
    page, _ = preview(board, **asked)
    line = re.findall(r"<code>(jobclaim cancel .*?)</code>", page)
    assert line
    import shlex

    context = cancel.command.make_context("cancel", shlex.split(line[0])[2:])
    assert context.params["queue"] == "mail"


def test_a_filter_that_the_command_lacks_shows_none(board: Board) -> None:
    page, _ = preview(board, kind="TRANSIENT")
    assert "jobclaim cancel" not in page
