"""Calls that run at once: what they refuse, keep and raise, as a worker would."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery import shared_task
from kombu.exceptions import EncodeError

from jobclaim.jobs import InvalidEffect, InvalidInput, InvalidPayload, PayloadTooLarge, StepMismatch, WaitTimeout
from jobclaim.settings import Settings
from jobclaim.workers import JobTask
from jobclaim.workers.attempt import eager
from jobclaim.workers.attempt.eagerly import TIMES_OUT, Eagerly, resumed_with

calls: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    calls.clear()


@pytest.fixture
def conf() -> Iterator[Any]:
    """The app's configuration, which is put back."""
    found = takes.app.conf
    before = found.task_eager_propagates
    yield found
    found.task_eager_propagates = before


@shared_task(base=JobTask, name="eager.takes")
def takes(value: Any) -> Any:
    return value if value != "object" else object()


@shared_task(base=JobTask, bind=True, name="eager.effects")
def effects(self: Any, table: str) -> None:
    self.effects.put(TableName=table, Item={"job_id": "1"}, ConditionExpression="attribute_not_exists(job_id)")


@pytest.mark.parametrize(
    ("default", "given", "raises"),
    [(False, True, True), (True, False, False), (True, None, True), (False, None, False)],
)
@pytest.mark.parametrize("error", [EncodeError, InvalidEffect])
@pytest.mark.usefixtures("jobclaim")
def test_a_failure_is_raised_if_the_call_or_else_the_app_says_so(
    conf: Any, error: Any, default: bool, given: bool | None, raises: bool
) -> None:
    conf.task_eager_propagates = default
    task, argument = (takes, "object") if error is EncodeError else (effects, settings().job_table)
    options = {} if given is None else {"throw": given}
    if raises:
        with pytest.raises(error):
            task.apply((argument,), **options)
        return
    result = task.apply((argument,), **options)
    assert (result.state, isinstance(result.result, error)) == ("FAILURE", True)


def settings() -> Settings:
    """The settings of the tests' app."""
    found: Settings = takes.app.jobclaim.settings
    return found


def handle(bucket: str, limit: int) -> Any:
    return SimpleNamespace(settings=SimpleNamespace(bucket=bucket, max_payload_bytes=limit))


@pytest.mark.parametrize(("installed", "limit"), [(None, None), (handle("large", 5), None), (handle("", 5), 5)])
def test_arguments_are_as_long_as_a_payload_may_be(
    monkeypatch: pytest.MonkeyPatch, installed: Any, limit: int | None
) -> None:
    monkeypatch.setattr(eager, "installed_on", lambda app: installed)
    assert eager._limit(None) == limit


@pytest.mark.usefixtures("jobclaim")
def test_arguments_that_are_too_long_are_refused_before_the_body_runs() -> None:
    with pytest.raises(PayloadTooLarge):
        takes.apply(("x" * settings().max_payload_bytes,))


# --- steps, waits and progress
def count(value: Any = 1) -> Any:
    calls.append(value)
    return value


async def acount(value: Any = 1) -> Any:
    return count(value)


def test_a_step_runs_once_in_a_call_whether_it_is_awaited_or_not() -> None:
    one = Eagerly("t")

    async def body() -> list[Any]:
        given = [await one.astep("a", acount, 5), await one.astep("a", acount, 5)]
        return [*given, await one.astep("b", count, 5), await one.astep("b", count, 5)]

    assert asyncio.run(body()) == [5, 5, 5, 5]
    assert calls == [5, 5]
    assert [one.step("c", count, 6), one.step("c", count, 6)] == [6, 6]
    assert calls == [5, 5, 6]


@pytest.mark.parametrize("call", [(count, 2), (acount, 1)])
def test_a_name_that_is_used_for_two_calls_is_refused(call: Any) -> None:
    one = Eagerly("t")
    one.step("a", count, 1)
    with pytest.raises(StepMismatch):
        one.step("a", *call)


def test_a_result_that_no_worker_could_store_is_refused_and_a_name_that_cannot_be() -> None:
    one = Eagerly("t")
    with pytest.raises(InvalidPayload, match="the result of step 'a'"):
        one.step("a", count, object())
    for call in (lambda: one.step("", count), lambda: one.wait_for(""), lambda: one.wait_token("")):
        with pytest.raises(InvalidInput):
            call()


def test_a_wait_returns_what_the_test_gives_or_says_how_to_give_it() -> None:
    one = Eagerly("t")
    with resumed_with({"paid": {"sum": 5}, "late": TIMES_OUT, "": 1}):
        with pytest.raises(InvalidInput):
            one.wait_for("")
        with resumed_with({"other": (1,)}):
            assert [one.wait_for("paid"), one.wait_for("other")] == [{"sum": 5}, [1]]
        with pytest.raises(WaitTimeout, match="makes wait 'late' time out"):
            one.wait_for("late")
        with pytest.raises(InvalidInput, match="task 't' waits for 'other'"):
            one.wait_for("other")
    with pytest.raises(InvalidInput):
        one.wait_for("paid")
    assert one.wait_token("paid") == "eager-paid"


def test_a_sleep_and_a_report_are_checked_as_in_a_worker() -> None:
    one = Eagerly("t")
    one.sleep(5)
    one.sleep_until(0)
    one.progress(1, 2, "half", checkpoint=..., flush=True)
    wrong: list[Any] = [
        lambda: one.sleep(-1),
        lambda: one.sleep(10**12),
        lambda: one.sleep_until(datetime(2030, 1, 1)),  # noqa: DTZ001 - a time without a zone is the case
        lambda: one.progress(float("nan"), 1, "", checkpoint=..., flush=False),
    ]
    for call in wrong:
        with pytest.raises(InvalidInput):
            call()


def test_the_steps_of_a_request_are_those_of_its_call() -> None:
    request = SimpleNamespace()
    first = Eagerly.of(request, "t")
    assert Eagerly.of(request, "t") is first
    assert Eagerly.of(None, "t") is not Eagerly.of(None, "t")
    assert Eagerly.of(SimpleNamespace(), "t") is not first
