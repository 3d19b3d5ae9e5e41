"""Which outcomes a child hands over to its main process, and what becomes of those that it does not."""

from __future__ import annotations

import os
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.pool import SIG_SOFT_TIMEOUT
from celery import _state, shared_task, signals
from celery.worker.request import Request
from structlog.contextvars import bind_contextvars, merge_contextvars
from structlog.testing import capture_logs

from jobclaim.jobs import JobStatus
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask
from jobclaim.workers.attempt import handing, leaving
from jobclaim.workers.attempt.handing import Handed
from jobclaim.workers.state.worker import Worker

MARKS: list[str] = []


class OnSuccess(JobTask):
    abstract = True

    def on_success(self, *_: Any) -> None:
        MARKS.append(f"hook: {self.jobclaim.repo.get_job(self.request.job.job_id).status}")


class AfterReturn(JobTask):
    abstract = True

    def after_return(self, *_: Any) -> None:
        MARKS.append(f"hook: {self.jobclaim.repo.get_job(self.request.job.job_id).status}")


class OwnRequest(Request):
    """A user's own class."""


@shared_task(base=JobTask, name="handing.plain")
def plain(value: Any = "done") -> Any:
    return value


@shared_task(base=IdempotentTask, name="handing.once", idempotency_ttl=50)
def once(value: Any) -> Any:
    return value


@shared_task(base=OnSuccess, name="handing.on_success")
def on_success() -> str:
    return "done"


@shared_task(base=AfterReturn, name="handing.after_return")
def after_return() -> str:
    return "done"


@shared_task(base=JobTask, name="handing.request", Request=OwnRequest)
def own_request() -> str:
    return "done"


@shared_task(base=JobTask, name="handing.limited", concurrency_key="tenant")
def limited(tenant: str) -> str:
    return tenant


@shared_task(base=JobTask, name="handing.ended", bind=True)
def ended(self: Any) -> None:
    self.jobclaim.repo.update_status(self.request.job.job_id, "COMPLETED", result="by itself")


@shared_task(base=JobTask, name="handing.fails")
def fails() -> None:
    raise ValueError("no")


@shared_task(base=JobTask, name="handing.binds")
def binds(value: Any) -> str:
    bind_contextvars(tenant=value)
    return "done"


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[Handed]:
    """What the main process of a child would get."""
    found: list[Handed] = []
    conclude = handing.conclude

    def catch(*given: Any) -> Any:
        traced = conclude(*given)
        if isinstance(traced.retstr, Handed):
            found.append(traced.retstr)
        return traced

    monkeypatch.setattr(handing, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(Worker, "takes_outcomes", lambda _: True)
    monkeypatch.setattr(Worker, "hand_over", lambda *_: True)
    monkeypatch.setattr(handing, "conclude", catch)
    MARKS.clear()
    return found


def test_a_success_that_nothing_follows_is_handed_over(jobclaim: Harness, handed: list[Handed]) -> None:
    job_id = plain.delay({"n": 1}).id
    with capture_logs() as lines:
        jobclaim.drain()
    before = jobclaim.job(job_id)
    assert (before.status, "job.completed" in [line["event"] for line in lines]) == (JobStatus.PROCESSING, False)
    assert not jobclaim.repo.holds(before)

    [(answer, planned)] = [one.read() for one in handed]
    assert (answer, planned.token) == ("{'n': 1}", before.claim_token)
    assert before.log_context().items() <= planned.bound.items()
    with capture_logs() as lines:
        jobclaim.repo.write_planned(planned)
    done = jobclaim.job(job_id)
    assert (done.status, done.result) == (JobStatus.COMPLETED, {"n": 1})
    assert [line["event"] for line in lines] == ["job.completed"]


def test_the_window_of_an_idempotent_task_is_kept(jobclaim: Harness, handed: list[Handed]) -> None:
    first = once.delay(1)
    jobclaim.drain()
    jobclaim.repo.write_planned(handed[0].read()[1])
    assert jobclaim.job(first).idempotency_ttl == 50
    assert once.delay(1).id == first.id


CALLS: dict[str, tuple[Any, Any]] = {
    "a hook on success": (on_success, ()),
    "a hook after the return": (after_return, ()),
    "a request of its own": (own_request, ()),
    "a slot to give back": (limited, ("shop",)),
    "a large result": (plain, ("x" * handing.MOST_BYTES,)),
    "a payload apart": (plain, ("x" * 50_000,)),
    "ended by its body": (ended, ()),
    "a value that cannot be logged elsewhere": (binds, ([1],)),
}


@pytest.mark.parametrize("call", CALLS)
def test_any_other_success_is_recorded_by_its_child(jobclaim: Harness, handed: list[Handed], call: str) -> None:
    task, given = CALLS[call]
    job_id = task.delay(*given).id
    with capture_logs() as lines:
        jobclaim.drain()
    job = jobclaim.job(job_id)
    assert (handed, job.status, job.attempt) == ([], JobStatus.COMPLETED, 1)
    assert [line["event"] for line in lines].count("job.completed") == 1
    assert MARKS in ([], ["hook: COMPLETED"])
    assert not jobclaim.repo.holds(job)


def test_what_does_not_fit_one_write_to_the_pipe_is_recorded_by_its_child(
    jobclaim: Harness, handed: list[Handed], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain.delay()
    jobclaim.drain()
    answer, planned = handed[0].read()
    traced = SimpleNamespace(retstr=answer)
    content = handing._handed(traced, planned)
    assert content is not None
    size = len(content.content)
    for most, fits in ((size, True), (size - 1, False)):
        monkeypatch.setattr(handing, "MOST_BYTES", most)
        assert (handing._handed(traced, planned) is not None) is fits
    monkeypatch.setattr(handing, "MOST_BYTES", size // 2)
    job_id = plain.delay().id
    jobclaim.drain()
    assert (len(handed), jobclaim.job(job_id).status) == (1, JobStatus.COMPLETED)


def test_a_failure_is_recorded_by_its_child(jobclaim: Harness, handed: list[Handed]) -> None:
    job_id = fails.delay().id
    jobclaim.drain()
    assert (handed, jobclaim.job(job_id).status) == ([], JobStatus.FAILED)


@pytest.mark.parametrize(
    "change",
    [
        {"chord": "its chord"},
        {"job": {"dead_retries": 1}},
        {"job": {"payload_mark": "its mark"}},
        {"takes_place": "its slot"},
        {"telemetry": "otlp"},
        {"task": OnSuccess},
        {"app": "another app"},
        {"claim_seconds": handing.LEAST_SECONDS / 2},
    ],
    ids=["chord", "dead letter", "payload apart", "slot", "traces", "hook", "another app", "fast line"],
)
def test_a_success_that_something_follows_is_not_planned(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setattr(Worker, "takes_outcomes", lambda _: True)

    def possible(**given: Any) -> bool:
        job = SimpleNamespace(**({"dead_retries": 0, "payload_mark": None} | given.get("job", {})))
        cls = given.get("task", JobTask)
        settings = SimpleNamespace(telemetry=given.get("telemetry", "off"))
        app = given.get("app", _state.default_app)
        named = {"app": app, "jobclaim": SimpleNamespace(settings=settings), "__module__": cls.__module__}
        task = type("Task", (cls,), named)
        request = SimpleNamespace(
            job=job,
            chord=given.get("chord"),
            takes_place=given.get("takes_place", ""),
            claim_seconds=given.get("claim_seconds", handing.LEAST_SECONDS),
        )
        return handing.is_possible(object.__new__(task), request)

    assert possible()
    assert not possible(**change)
    monkeypatch.setattr(Worker, "takes_outcomes", lambda _: False)
    assert not possible()


@pytest.mark.parametrize("signal_", [signals.task_success, signals.task_postrun], ids=["success", "postrun"])
def test_where_a_handler_of_the_user_follows_the_child_records_first(
    jobclaim: Harness, handed: list[Handed], signal_: Any
) -> None:
    seen: list[str] = []

    def handler(sender: Any, **_: Any) -> None:
        seen.append(str(jobclaim.job(job_id).status))

    signal_.connect(handler)
    try:
        job_id = plain.delay().id
        jobclaim.drain()
    finally:
        signal_.disconnect(handler)
    assert (handed, seen) == ([], ["COMPLETED"])


def test_a_handler_for_another_task_does_not_matter(jobclaim: Harness, handed: list[Handed]) -> None:
    def handler(**_: Any) -> None:
        """Do nothing."""

    signals.task_success.connect(handler, sender=once)
    try:
        plain.delay()
        jobclaim.drain()
    finally:
        signals.task_success.disconnect(handler, sender=once)
    assert len(handed) == 1


def test_what_users_have_bound_to_their_log_lines_goes_along(jobclaim: Harness, handed: list[Handed]) -> None:
    binds.delay("shop")
    jobclaim.drain()
    with capture_logs(processors=[merge_contextvars]) as lines:
        jobclaim.repo.write_planned(handed[0].read()[1])
    assert lines[0]["tenant"] == "shop"


@pytest.mark.filterwarnings("ignore:Exception raised outside body")
@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), ValueError("after the body")])
def test_a_body_that_returned_is_a_success_whatever_is_raised_after_it(
    jobclaim: Harness, handed: list[Handed], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def raises(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("celery.app.trace.saferepr", raises)
    job_id = plain.delay().id
    with suppress(SystemExit, KeyboardInterrupt):
        jobclaim.drain()
    assert (handed, jobclaim.job(job_id).status) == ([], JobStatus.COMPLETED)


@pytest.mark.filterwarnings("ignore:Exception raised outside body")
def test_a_body_that_returned_is_a_success_where_its_child_is_ended_after_it(
    jobclaim: Harness, handed: list[Handed], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: Any, **__: Any) -> Any:
        raise SystemExit

    monkeypatch.setattr("celery.app.trace.saferepr", end)
    monkeypatch.setattr(leaving, "process_is_ending", lambda: True)
    job_id = plain.delay().id
    with suppress(SystemExit):
        jobclaim.drain()
    assert (handed, jobclaim.job(job_id).status) == ([], JobStatus.COMPLETED)


def test_an_answer_that_celery_did_not_finish_is_not_handed_over(
    jobclaim: Harness, handed: list[Handed], monkeypatch: pytest.MonkeyPatch
) -> None:
    conclude = handing.conclude
    monkeypatch.setattr(
        handing, "conclude", lambda traced, *rest: conclude(traced._replace(retstr=None), *rest)
    )  # as after an exception in its tracer
    job_id = plain.delay().id
    jobclaim.drain()
    assert (handed, jobclaim.job(job_id).status) == ([], JobStatus.COMPLETED)


def test_a_main_process_that_takes_none_any_more_leaves_it_to_the_child(
    jobclaim: Harness, handed: list[Handed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "hand_over", lambda *_: False)
    job_id = plain.delay().id
    jobclaim.drain()
    assert (handed, jobclaim.job(job_id).status) == ([], JobStatus.COMPLETED)


def test_a_claim_that_has_ended_before_it_is_planned_drops_the_result(
    jobclaim: Harness, handed: list[Handed], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = handing.is_possible

    def lose_first(task: Any, request: Any) -> bool:
        jobclaim.repo.update_status(request.job.job_id, "CANCELLED", token=request.job.claim_token)
        return usual(task, request)

    monkeypatch.setattr(handing, "is_possible", lose_first)
    job_id = plain.delay().id
    with capture_logs() as lines:
        jobclaim.drain()
    assert (handed, jobclaim.job(job_id).status) == ([], JobStatus.CANCELLED)
    assert "claim.lost" in [line["event"] for line in lines]


@pytest.mark.usefixtures("in_child")
def test_a_soft_limit_between_the_body_and_its_answer_changes_nothing(
    jobclaim: Harness, handed: list[Handed], monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_the_limit(*_: Any) -> bool:
        os.kill(os.getpid(), SIG_SOFT_TIMEOUT)
        return True

    monkeypatch.setattr(Worker, "hand_over", at_the_limit)
    plain.delay()
    jobclaim.drain()
    assert len(handed) == 1
