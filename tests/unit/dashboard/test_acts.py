"""What people do: who may, what the audit trail keeps, and what is refused."""

from __future__ import annotations

import html
from urllib.parse import urlencode

import pytest

from jobclaim.dashboard import Person, Role
from jobclaim.dashboard.meter import Metered
from jobclaim.dashboard.security.limits import FORM, MAX_FIELDS, MAX_FORM
from jobclaim.fleet.audit import Audit, AuditEntry
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import Job, JobStatus, StoreUnavailable
from tests.unit.dashboard.conftest import Board


def trail(board: Board) -> list[AuditEntry]:
    """The audit trail, newest first."""
    return Audit.of(board.repo).entries()


def status_of(board: Board, job: Job) -> JobStatus:
    """State of a job as it is stored."""
    return board.repo.get_job(job.job_id).status


@pytest.mark.parametrize("verb", ["retry", "cancel", "resolve", "abandon"])
def test_every_act_is_in_the_audit_trail_with_the_person_s_name(board: Board, verb: str) -> None:
    job = board.job() if verb == "cancel" else board.failed()
    answer = board.browser().post("/act", data={"verb": verb, "id": job.job_id, "reason": "as agreed"})
    assert answer.status_code == 303, answer.text
    (entry,) = trail(board)
    assert (entry.verb, entry.by, entry.why, entry.what) == (verb, "ada", "as agreed", job.job_id)
    assert (entry.done, entry.refused) == (1, 0)


def test_a_refused_act_is_in_the_audit_trail_too(board: Board) -> None:
    job = board.failed()
    assert board.browser().post("/act", data={"verb": "cancel", "id": job.job_id}).status_code == 409
    (entry,) = trail(board)
    assert (entry.verb, entry.done, entry.refused) == ("cancel", 0, 1)


def test_a_form_has_one_limit_wherever_it_is_looked_at(board: Board) -> None:
    browser = board.browser()

    def act(extra: int, size: int = 0) -> int:
        fields = {"verb": "retry", "id": board.failed().job_id} | {f"f{n}": "" for n in range(extra)}
        body = urlencode({**fields, "reason": ""})
        said = browser.post("/act", content=body + "&x=" + "x" * (size - len(body) - 3), headers={"content-type": FORM})
        return int(said.status_code)

    assert act(extra=60) == 303
    assert act(extra=MAX_FIELDS - 4) == 303
    assert act(extra=MAX_FIELDS) == 413
    assert act(extra=0, size=MAX_FORM) == 303
    assert act(extra=0, size=MAX_FORM + 1) == 413


def test_a_viewer_can_do_nothing(board: Board) -> None:
    job = board.failed()
    board.person = Person("bob", Role.VIEWER)
    browser = board.browser()
    for path in ("/act", "/api/v1/act", "/drain", "/api/v1/drain", "/dead/act/start", "/dead/operation/stop"):
        fields = {"verb": "retry", "id": job.job_id, "kind": "PERMANENT"}
        assert browser.post(path, data=fields).status_code == 403, path
    assert status_of(board, job) is JobStatus.FAILED
    assert trail(board) == []


def test_a_viewer_sees_no_button(board: Board) -> None:
    job = board.failed()
    board.person = Person("bob", Role.VIEWER)
    text = board.browser().get(f"/job?id={job.job_id}").text
    assert 'action="/act"' not in text
    board.person = Person("ada", Role.OPERATOR)
    assert 'action="/act"' in board.browser().get(f"/job?id={job.job_id}").text


def test_a_job_that_changed_meanwhile_is_refused_and_left_alone(board: Board) -> None:
    job = board.failed()
    browser = board.browser()
    assert browser.post("/act", data={"verb": "retry", "id": job.job_id}).status_code == 303
    answer = browser.post("/act", data={"verb": "abandon", "id": job.job_id})
    assert answer.status_code == 409
    assert "it is PENDING, not FAILED" in html.unescape(answer.text)
    assert status_of(board, job) is JobStatus.PENDING


def test_a_cancelled_job_tells_who_cancelled_it_and_why(board: Board) -> None:
    job = board.job()
    board.browser().post("/act", data={"verb": "cancel", "id": job.job_id, "reason": "sent  twice\n"})
    failure = board.repo.get_job(job.job_id).failure
    assert failure is not None
    assert failure.message == "cancelled by ada: sent twice"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"verb": "delete", "id": "x"}, 400),
        ({"verb": "retry", "id": ""}, 400),
        ({"verb": "retry", "id": "nobody"}, 404),
        ({"verb": "cancel", "id": "nobody"}, 404),
        ({"verb": "cancel", "id": "nobody", "reason": "x" * 201}, 400),
        ({}, 400),
    ],
)
def test_nonsense_is_refused(board: Board, fields: dict[str, str], status: int) -> None:
    assert board.browser().post("/act", data=fields).status_code == status


def test_a_field_that_comes_twice_is_refused(board: Board) -> None:
    job = board.failed()
    body = f"verb=retry&id={job.job_id}&verb=abandon"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert board.browser().post("/act", content=body, headers=headers).status_code == 400
    assert status_of(board, job) is JobStatus.FAILED


def test_an_act_is_no_get(board: Board) -> None:
    job = board.failed()
    assert board.browser().get("/act", params={"verb": "retry", "id": job.job_id}).status_code == 405
    assert status_of(board, job) is JobStatus.FAILED


def test_a_worker_is_asked_to_stop(board: Board) -> None:
    fleet = FleetRecords.of(board.repo)
    fleet.beat(WorkerRecord(worker_id="worker-1", seen_at=board.clock()))
    answer = board.browser().post("/drain", data={"id": "worker-1"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/workers?asked=worker-1"
    record = fleet.get("worker-1")
    assert record is not None
    assert record.drain
    assert [(entry.verb, entry.what, entry.done) for entry in trail(board)] == [("drain", "worker worker-1", 1)]


def test_a_worker_that_has_gone_cannot_be_asked(board: Board) -> None:
    answer = board.browser().post("/drain", data={"id": "worker-9"})
    assert answer.status_code == 400
    assert "no record" in answer.text
    assert [(entry.done, entry.refused) for entry in trail(board)] == [(0, 1)]


def test_a_message_that_is_not_sent_is_told_and_left_to_recovery(board: Board) -> None:
    def fail(job: Job, delay: float) -> None:
        raise OSError("SQS is down")

    object.__setattr__(board.services, "send", fail)
    answer = board.browser().post("/api/v1/act", data={"verb": "retry", "id": board.failed().job_id})
    assert answer.json()["text"].endswith("Its message was not sent; recovery sends it.")


def test_dynamodb_that_does_not_answer_is_said_to_people_and_programs(board: Board) -> None:
    class Down:
        def __getattr__(self, name: str) -> object:
            def refuse(**_: object) -> None:
                raise StoreUnavailable("DynamoDB did not answer; check the endpoint")

            return refuse

    object.__setattr__(board.services, "dynamodb", Metered(Down(), capacity=True))
    page, record = board.browser().get("/job?id=x"), board.browser().get("/api/v1/job?id=x")
    assert (page.status_code, record.status_code) == (503, 503)
    assert "check the endpoint" in page.text
    assert record.json()["error"]["message"] == "DynamoDB did not answer; check the endpoint"
