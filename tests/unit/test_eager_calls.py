"""``apply()`` and eager mode show a task the values that a worker shows it, and refuse what no job could carry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest
from celery import shared_task
from kombu.exceptions import EncodeError
from kombu.utils import json as kombu_json
from pydantic import BaseModel

from jobclaim.jobs import InvalidPayload, JobStatus
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask

seen: list[Any] = []


class Level(IntEnum):
    """A number with a name."""

    HIGH = 3


class Colour(Enum):
    """What JSON has no form for."""

    RED = "red"


class Order(BaseModel):
    """A model."""

    number: int


@shared_task(base=JobTask, name="eager.echo")
def echo(value: Any) -> Any:
    """Give what was passed."""
    seen.append(value)
    return value


@shared_task(base=IdempotentTask, name="eager.once")
def once(value: Any) -> Any:
    """Give what was passed, once."""
    return value


@shared_task(base=JobTask, name="eager.make")
def make(what: str) -> Any:
    """Give what cannot be stored."""
    seen.append(what)
    return {"set": {1}, "enum": Colour.RED, "object": object()}[what]


@shared_task(base=JobTask, name="eager.order")
def order(order: Order) -> Any:
    """Give the type of what was passed."""
    return [type(order).__name__, order.number]


@shared_task(base=JobTask, bind=True, name="eager.asks")
def asks(self: Any) -> Any:
    """Ask for the job."""
    assert getattr(self.request, "job", None) is None
    return self.request.job


CARRIED: list[Any] = [
    datetime(2030, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001
    datetime(2030, 1, 2, tzinfo=UTC), date(2030, 1, 2), time(3, 4),
    Decimal("1.10"), UUID(int=7), b"text", b"\xff\x00", (1, (2,)), {1: "a", None: [date(2030, 1, 2)], False: 1.5},
    Level.HIGH, float("nan"), float("inf"), [{"deep": ({"x": Decimal(1)},)}],
]  # fmt: skip
REFUSED: list[Any] = [{1}, frozenset(), object(), Colour.RED, Order(number=1), bytearray(b"x"), {(1,): 2}]


@pytest.fixture(params=["worker", "eager", "apply"])
def run(request: pytest.FixtureRequest, jobclaim: Harness) -> Iterator[Any]:
    def called(task: Any, value: Any) -> Any:
        if request.param == "apply":
            return task.apply((value,))
        handle = task.delay(value)
        jobclaim.drain()
        return handle

    seen.clear()
    jobclaim.app.conf.task_always_eager = request.param == "eager"
    yield called
    jobclaim.app.conf.task_always_eager = False


@pytest.mark.parametrize("value", CARRIED, ids=repr)
def test_a_job_takes_and_gives_what_a_plain_task_does(run: Any, value: Any) -> None:
    theirs = kombu_json.loads(kombu_json.dumps(value))
    for task in (echo, once):
        assert repr(run(task, value).get(timeout=5)) == repr(theirs)
    assert repr(seen) == repr([theirs])


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_json_does_not_carry_is_refused_before_the_body_runs(run: Any, value: Any) -> None:
    with pytest.raises(InvalidPayload):
        run(echo, value)
    assert seen == []


@pytest.mark.parametrize("what", ["set", "enum", "object"])
def test_a_result_that_cannot_be_stored_fails_the_job_once(run: Any, jobclaim: Harness, what: str) -> None:
    result = run(make, what)
    assert result.state == "FAILURE"
    with pytest.raises(EncodeError, match="return value cannot be stored"):
        result.get(timeout=5)
    assert seen == [what]
    for job in jobclaim.repo.submitted:
        after = jobclaim.repo.get_job(job.job_id)
        assert (after.status, str(after.failure and after.failure.kind)) == (JobStatus.FAILED, "PERMANENT")


def test_models_reach_a_typed_body_as_models(run: Any) -> None:
    assert run(order, Order(number=7)).get(timeout=5) == ["Order", 7]


def test_a_body_without_a_job_is_told_so(jobclaim: Harness) -> None:
    with pytest.raises(AttributeError, match=r"has no job.*jobclaim\.testing"):
        asks.apply().get()
    with pytest.raises(AttributeError, match="no attribute 'jobs'"):
        _ = asks.request.jobs
