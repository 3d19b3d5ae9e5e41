"""Tasks that are no `JobTask`: limits and acks before a worker starts, notes of claims, what claims, and keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kombu.message import Message

from jobclaim.jobs import SKIPPED, IdempotencyService, InvalidInput, JobRepo
from jobclaim.settings import QueueSpec, Settings
from jobclaim.workers import IdempotentTask, JobTask, create_app, plain
from jobclaim.workers.process.plain_request import PlainRequest, of_task
from jobclaim.workers.state.held import PER_REGION, ClaimNotes, NotedClaim
from jobclaim.workers.submission.claiming import claims
from jobclaim.workers.submission.idempotency import key_of
from jobclaim.workers.time_limits import problems
from tests.unit.test_task_limits import body

SETTINGS = Settings(
    queues=(
        QueueSpec(name="default", soft_limit=80, hard_limit=100),
        QueueSpec(name="quick", hard_limit=10, soft_limit=5),
    ),
    tasks={"t.quick": {"queue": "quick"}},
)
repo = JobRepo(settings=SETTINGS)


@pytest.fixture
def app() -> Any:
    made = create_app(SETTINGS)
    _ = made.conf.task_acks_late  # read the configuration, so that ours is merged
    return made


def found(app: Any, name: str) -> list[str]:
    return problems([app.tasks[name]], app.jobclaim)


# --- before a worker starts
def test_a_plain_tasks_time_limit_above_its_queues_is_a_problem(app: Any) -> None:
    app.task(name="t.long", shared=False, time_limit=7200)(body)
    [problem] = found(app, "t.long")
    assert "'t.long'" in problem
    assert "7200" in problem
    assert "'default'" in problem


def test_a_plain_task_without_limits_has_those_of_its_queue(app: Any) -> None:
    app.task(name="t.quick", shared=False)(body)
    assert found(app, "t.quick") == []
    assert (app.tasks["t.quick"].soft_time_limit, app.tasks["t.quick"].time_limit) == (5, 10)


@pytest.mark.parametrize("base", [None, JobTask, IdempotentTask])
def test_late_acks_are_refused_by_name(app: Any, base: Any) -> None:
    app.task(name="t.late", shared=False, acks_late=True, **({"base": base} if base else {}))(body)
    assert any("'t.late'" in problem and "acks_late" in problem for problem in found(app, "t.late"))


def test_late_acks_that_are_set_after_the_merge_are_refused(app: Any) -> None:
    app.conf.task_acks_late = True
    app.task(name="t.late", shared=False)(body)
    assert any("task_acks_late" in problem for problem in found(app, "t.late"))


def test_each_task_gets_a_request_that_its_worker_owns(app: Any) -> None:
    app.task(name="t.plain", shared=False)(body)
    plain.prepare_tasks(app)
    retry = app.tasks["t.plain"].retry
    plain.prepare_tasks(app)
    assert app.tasks["t.plain"].retry is retry
    assert issubclass(of_task(app.tasks["t.plain"]), PlainRequest)


def request_for(app: Any, name: str, queue: str, limits: list[float | None]) -> PlainRequest:
    sent = app.amqp.as_task_v2("id-1", name, (), {})
    message = Message(
        body=json.dumps(sent.body),
        content_type="application/json",
        content_encoding="utf-8",
        headers={**sent.headers, "timelimit": limits},
        delivery_tag="receipt",
        delivery_info={"routing_key": queue, "exchange": ""},
        channel=None,
    )
    return PlainRequest(message, app=app, task=app.tasks[name])


@pytest.mark.parametrize(
    ("queue", "limits", "kept"),
    [
        ("default", [7200, 7000], (100, 100)),
        ("default", [7200, None], (100, 80)),
        ("default", [50, 40], (50, 40)),
        ("default", [None, None], (None, None)),
        ("quick", [None, None], (10, 10)),
        ("the host's", [7200, 7000], (7200, 7000)),
    ],
)
def test_no_call_of_a_plain_task_outruns_the_lease_of_its_queue(
    app: Any, queue: str, limits: list[float | None], kept: tuple[float | None, float | None]
) -> None:
    app.task(name="t.plain", shared=False, time_limit=100, soft_time_limit=80)(body)
    assert tuple(request_for(app, "t.plain", queue, limits).time_limits) == kept


def test_each_delivery_of_a_plain_task_has_a_name_of_its_own(app: Any) -> None:
    app.task(name="t.plain", shared=False)(body)
    names = {request_for(app, "t.plain", "default", [None, None]).token for _ in range(10)}
    assert len(names) == 10
    assert "" not in names


# --- notes of claims
def test_notes_tell_what_a_delivery_holds_until_it_is_dropped() -> None:
    notes = ClaimNotes()
    assert notes.put("a" * 16, NotedClaim("job-1", "t1"))
    assert notes.put("a" * 16, NotedClaim("jöb-2", "t2"))
    assert notes.put("b" * 16, NotedClaim("job-3", "t3"))
    assert notes.of("a" * 16) == [NotedClaim("job-1", "t1"), NotedClaim("jöb-2", "t2")]
    notes.drop("t1")
    assert notes.of("a" * 16) == [NotedClaim("jöb-2", "t2")]
    notes.clear("a" * 16)
    assert notes.all() == {"b" * 16: [NotedClaim("job-3", "t3")]}


def test_a_child_that_holds_more_than_it_can_note_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = ClaimNotes()
    monkeypatch.setattr("jobclaim.workers.state.held.current_process", type("Child", (), {"index": 3}))
    assert all(notes.put("a" * 16, NotedClaim(f"job-{n}", f"t{n}")) for n in range(PER_REGION))
    assert not notes.put("a" * 16, NotedClaim("one too many", "t"))
    notes.drop("t0")
    assert notes.put("a" * 16, NotedClaim("now there is room", "t"))
    assert not notes.put("a" * 16, NotedClaim("x" * 303, "long"))


# --- what claims
def by_claim_job(job_id: str) -> Any:
    """Claims."""
    return repo.claim_job(job_id) or SKIPPED


def by_a_block(job_id: str) -> None:
    """Claims."""
    with repo.claimed(job_id):
        pass


def by_a_helper(job_id: str) -> Any:
    """Claims in what it calls."""
    return by_claim_job(job_id)


@pytest.mark.parametrize(
    ("function", "told", "expected"),
    [
        (by_claim_job, None, True),
        (by_a_block, None, True),
        (by_a_helper, None, True),
        (body, None, False),
        (body, True, True),
        (by_claim_job, False, False),
    ],
)
def test_whether_a_task_claims_is_seen_in_its_code_or_told(app: Any, function: Any, told: Any, expected: bool) -> None:
    options = {} if told is None else {"claims": told}
    app.task(name="t.claims", shared=False, autoretry_for=(OSError,), **options)(function)
    assert claims(app.tasks["t.claims"]) is expected


# --- keys
def export(user_id: int, kind: str = "csv") -> None:
    """A task's body."""


def needs_both(user_id: int, kind: str) -> None:
    """A task's body."""


def auto_close() -> None:
    """A task's body."""


def test_a_key_follows_scope_and_defaults(app: Any) -> None:
    app.task(name="t.export", shared=False, base=IdempotentTask, idempotency_scope="user")(export)
    task = app.tasks["t.export"]
    assert key_of(task, {"user_id": 5}) == key_of(task, {"user_id": 5, "kind": "csv"})
    assert key_of(task, {"user_id": 5}) == task._identity((5,), {}, None, None).key
    assert key_of(task, {"user_id": 5}) != key_of(task, {"user_id": 6})


def test_a_key_without_arguments_is_the_call_without_arguments(app: Any) -> None:
    app.task(name="t.auto_close", shared=False, base=IdempotentTask)(auto_close)
    task = app.tasks["t.auto_close"]
    assert key_of(task, {}) == task._identity((), {}, None, None).key


@pytest.mark.parametrize("values", [{}, {"kind": "csv"}, {"user_id": 5}, {"user_id": 5, "kind": "a", "other": 1}])
def test_a_key_that_cannot_be_decided_is_refused(app: Any, values: dict[str, Any]) -> None:
    app.task(name="t.both", shared=False, base=IdempotentTask, idempotency_scope="user")(needs_both)
    with pytest.raises(InvalidInput, match=r"t\.both"):
        key_of(app.tasks["t.both"], values)


def test_a_key_needs_only_what_identifies_a_call(app: Any) -> None:
    app.task(name="t.some", shared=False, base=IdempotentTask, idempotency_key_from=("user_id",))(needs_both)
    task = app.tasks["t.some"]
    assert key_of(task, {"user_id": 5}) == task._identity((5, "csv"), {}, None, None).key


class Found:
    """A table that holds nothing, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get(self, job_id: str) -> None:
        self.asked.append(job_id)


@pytest.fixture
def service() -> IdempotencyService:
    store = JobRepo(settings=SETTINGS)
    store.table = Found()  # type: ignore[assignment]
    return IdempotencyService(store)


def test_the_service_asks_for_the_job_that_a_call_would_have(app: Any, service: Any) -> None:
    app.task(name="t.closing", shared=False, base=IdempotentTask)(auto_close)
    task = app.tasks["t.closing"]
    assert service.check_idempotency_key(task, "global") is None
    assert service._repo.table.asked[-1] == task.generate_task_id()


@pytest.mark.parametrize("scope", ["user", "invoice-42"])
def test_a_text_without_the_scopes_owner_is_refused(app: Any, service: Any, scope: str) -> None:
    app.task(name="t.scoped", shared=False, base=IdempotentTask, idempotency_scope="user")(export)
    with pytest.raises(InvalidInput, match="cannot be computed"):
        service.check_idempotency_key(app.tasks["t.scoped"], scope)


def test_values_of_a_task_that_is_not_known_are_refused_where_nothing_stands(service: Any) -> None:
    with pytest.raises(InvalidInput, match="not registered in this program"):
        service.check_idempotency_key("nobody.knows", {"user_id": 5})
