"""The JSON API: every answer is what ``docs/openapi.json`` says, whatever is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from jobclaim.dashboard import describe
from jobclaim.dashboard.openapi import Call, document
from jobclaim.dashboard.redaction import shown
from jobclaim.dashboard.routes.api import CALLS
from jobclaim.fleet.pauses import Subject, pause
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import Job
from jobclaim.jobs.storage.pauses import PauseKind
from jobclaim.settings import ScheduleSpec
from jobclaim.views.records import job_record
from jobclaim.views.schemas import SCHEMAS
from jobclaim.workers.schedule.sender import Sender
from tests.support.volume import volume
from tests.unit.dashboard.conftest import Board
from tests.unit.jobs_strategies import jobs

FILE = Path(__file__).parents[3] / "docs" / "openapi.json"
DOCUMENT = document(CALLS)


def checker(schema: dict[str, Any]) -> Draft202012Validator:
    """A validator for a schema that may refer to the document's components."""
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


@pytest.fixture
def full(make_board: Callable[..., Board]) -> Board:
    """A dashboard with something of everything."""
    nightly = ScheduleSpec(task="shop.charge", cron="0 3 * * *")
    board = make_board(index_completed=True, dashboard_results=True, schedules={"nightly": nightly})
    board.job(queue="mail", start_by=board.clock() + 10_000)
    running = board.job(idempotency_key="k")
    board.repo.claim_job(running.job_id, worker_id="worker-1", celery_task_id="c")
    done = board.job()
    board.repo.claim_job(done.job_id)
    board.repo.update_status(done.job_id, "COMPLETED", result={"sum": 1.5})
    failed = board.failed(error=ValueError("no"), max_attempts=2)
    board.services.letters.act("retry", [failed.job_id], by="ada", reason="again")
    board.failed(error=TimeoutError("later"))
    board.failed(error=ValueError("no"))
    board.repo.cancel_job(board.job().job_id)
    board.repo.statistics.flush()
    fleet = FleetRecords.of(board.repo)
    fleet.beat(WorkerRecord(worker_id="worker-1", seen_at=board.clock(), queues=("mail",), jobs=(running.job_id,)))
    fleet.beat(WorkerRecord(worker_id="worker-0", seen_at=board.clock() - 10**6))
    pause(board.repo, Subject(PauseKind.TASK, "shop.refund"), by="ada", reason="no refunds today")
    return board


def ask(browser: TestClient, call: Call, **fields: Any) -> Any:
    """Make a call."""
    path = f"/api/v1{call.path}"
    return browser.get(path, params=fields) if call.method == "GET" else browser.post(path, data=fields)


def check(call: Call, answer: Any) -> None:
    """Hold an answer to what the document says of its status."""
    operation = DOCUMENT["paths"][f"/api/v1{call.path}"][call.method.lower()]
    told = operation["responses"].get(str(answer.status_code))
    assert told is not None, f"{call.name} answered {answer.status_code}: {answer.text[:300]}"
    ((media, content),) = told["content"].items()
    assert answer.headers["content-type"].startswith(media)
    if media == "application/json":
        checker(content["schema"]).validate(answer.json())


def test_the_file_is_what_the_code_says() -> None:
    assert FILE.read_text() == describe.text(), "run: python -m jobclaim.dashboard.describe > docs/openapi.json"


def test_the_file_is_openapi() -> None:
    validate(DOCUMENT)


@pytest.mark.parametrize("call", [call for call in CALLS if call.method == "GET"], ids=lambda call: call.name)
def test_every_list_answers_what_the_document_says(full: Board, call: Call) -> None:
    fields: dict[str, Any] = {"id": full.failed().job_id} if call.path == "/job" else {}
    if call.path == "/jobs":
        fields["status"] = ["PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED"]
    answer = ask(full.browser(), call, **fields)
    assert answer.status_code == 200, answer.text
    check(call, answer)
    assert answer.json().get("items", ["one job"]), "a schema that is met by nothing proves nothing"
    assert "requests" in answer.headers["x-jobclaim-cost"]


@pytest.mark.parametrize("call", [call for call in CALLS if call.method == "POST"], ids=lambda call: call.name)
def test_every_act_answers_what_the_document_says(full: Board, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sender, "send", lambda *_: (None, True))  # beat's, for a schedule that is run now
    fields = {
        "/drain": lambda: {"id": "worker-1"},
        "/resume": lambda: {"id": full.job().job_id, "name": "approval"},
        "/act": lambda: {"id": full.failed().job_id, "verb": "resolve"},
        "/pause": lambda: {"kind": "queue", "name": "mail", "reason": "the provider is down"},
        "/unpause": lambda: {"kind": "task", "name": "shop.refund"},
        "/schedule/run": lambda: {"id": "nightly"},
    }[call.path]()
    answer = ask(full.browser(), call, **fields)
    assert answer.status_code == 200, answer.text
    check(call, answer)
    check(call, ask(full.browser(), call, id="nobody", verb="retry", name="approval"))


def words_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values for a parameter: those that its schema names, near ones, and nonsense."""
    known = schema.get("enum") or schema.get("items", {}).get("enum") or ["default", "shop.*", "1h", "2", "worker-1"]
    text = st.text(st.characters(codec="utf-8"), max_size=40)
    numbers = st.integers(-(10**20), 10**20).map(str)
    one = st.one_of(st.sampled_from(known), text, numbers, st.just("x" * 400))
    return st.lists(one, max_size=3) if schema.get("type") == "array" else one


def questions(call: Call) -> st.SearchStrategy[dict[str, Any]]:
    """Fields of a call, some of them missing."""
    return st.fixed_dictionaries({}, optional={one.name: words_of(one.schema) for one in call.parameters})


@pytest.fixture
def asked(full: Board) -> TestClient:
    """A client that sees what a browser would: a mistake of ours is a 500, not an exception here."""
    return full.browser(raise_server_exceptions=False)


@pytest.mark.parametrize("call", [call for call in CALLS if call.parameters], ids=lambda call: call.name)
@example_settings(
    max_examples=volume(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_whatever_is_asked_for_the_answer_is_in_the_document(
    asked: TestClient, call: Call, data: st.DataObject
) -> None:
    check(call, ask(asked, call, **data.draw(questions(call))))


@given(job=jobs())
def test_any_job_is_a_record_of_the_schema(job: Job) -> None:
    from jobclaim.settings import Settings

    for settings in (Settings(), Settings(dashboard_arguments=("*",), dashboard_results=True)):
        Draft202012Validator(SCHEMAS["Job"]).validate(job_record(shown(job, settings), payload=True))


def test_an_error_is_json_for_programs_and_a_page_for_people(board: Board) -> None:
    browser = board.browser()
    assert browser.get("/api/v1/job?id=nobody").json()["error"]["status"] == 404
    assert browser.get("/api/v1/nothing").json()["error"]["title"] == "Not found"
    assert "<html" in browser.get("/nothing").text


def test_a_queue_is_the_same_record_on_the_command_line() -> None:
    from dataclasses import fields

    from jobclaim.views.queue_status import QueueStatus

    assert [field.name for field in fields(QueueStatus)] == SCHEMAS["Queue"]["required"]
