"""Arguments are checked when they are submitted and again before the body; errors name field and value."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import pytest
from celery import chain, shared_task
from pydantic import BaseModel, Field

from jobclaim.jobs import FailureKind, InvalidInput, JobStatus
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask
from jobclaim.workers.messages.call import to_payload
from jobclaim.workers.submission.typed import InvalidArguments, plan

ran: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


class Currency(StrEnum):
    EUR = "EUR"
    USD = "USD"


class Line(BaseModel):
    article: str
    amount: Annotated[int, Field(ge=1)]


class Order(BaseModel):
    number: int
    placed: datetime
    total: Decimal
    currency: Currency = Currency.EUR
    lines: list[Line] = []


ORDER = Order(
    number=7, placed=datetime(2026, 11, 21, tzinfo=UTC), total=Decimal("9.90"), lines=[Line(article="a", amount=2)]
)


@shared_task(base=JobTask, bind=True, name="typed.pay")
def pay(self: Any, order: Order, note: Any = None) -> Order:
    """Take a model, give a model."""
    ran.append(order)
    return order


@shared_task(base=JobTask, bind=True, name="typed.pay_all")
def pay_all(self: Any, orders: list[Order] | None = None) -> int:
    """Take several."""
    ran.append(orders)
    return len(orders or ())


@shared_task(base=JobTask, bind=True, name="typed.move", validate=True)
def move(self: Any, since: datetime, *steps: int, rate: float = 1.0, **flags: bool) -> str:
    """Check every hint."""
    ran.append((since, steps, rate, flags))
    return since.isoformat()


@shared_task(base=JobTask, bind=True, name="typed.loose")
def loose(self: Any, number: int) -> None:
    """Has hints, and takes anything."""
    ran.append(number)


@shared_task(base=JobTask, bind=True, name="typed.again", max_retries=1)
def again(self: Any, order: Order) -> int:
    """Fail once."""
    ran.append(order)
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return order.number


@shared_task(base=IdempotentTask, bind=True, name="typed.once")
def once(self: Any, order: Order) -> None:
    """Run once per order."""
    ran.append(order)


def test_a_body_gets_the_model_that_was_submitted(jobclaim: Harness) -> None:
    result = pay.delay(ORDER)
    jobclaim.drain()
    assert ran == [ORDER]
    assert Order.model_validate(result.get(timeout=1)) == ORDER


def test_a_model_may_be_given_as_a_map_and_is_stored_with_its_defaults(jobclaim: Harness) -> None:
    pay.delay(order={"number": "7", "placed": "2026-11-21T00:00:00Z", "total": "9.90"})
    stored = jobclaim.submitted[0].payload["kwargs"]["order"]
    assert (stored["number"], stored["currency"], stored["total"]) == (7, "EUR", "9.90")
    jobclaim.drain()
    assert isinstance(ran[0], Order)


def test_models_in_lists_and_optional_ones_are_checked(jobclaim: Harness) -> None:
    pay_all.delay([ORDER, ORDER])
    pay_all.delay()
    jobclaim.drain()
    assert ran == [[ORDER, ORDER], None]


def test_a_refused_field_is_named_with_its_value_and_nothing_is_written(jobclaim: Harness) -> None:
    order = ORDER.model_dump(mode="json") | {"number": "seven", "lines": [{"article": "a", "amount": 0}]}
    with pytest.raises(InvalidArguments) as caught:
        pay.delay(order)
    assert "task 'typed.pay' refuses order.number='seven' (Input should be a valid integer" in str(caught.value)
    assert "order.lines.0.amount=0 (Input should be greater than or equal to 1)" in str(caught.value)
    assert jobclaim.submitted == []


def test_hints_are_checked_where_the_task_says_so(jobclaim: Harness) -> None:
    move.delay("2026-11-21T00:00:00Z", "1", 2, rate="0.5", fast="yes")
    jobclaim.drain()
    assert ran == [(datetime(2026, 11, 21, tzinfo=UTC), (1, 2), 0.5, {"fast": True})]
    with pytest.raises(InvalidArguments, match="since='tomorrow'"):
        move.delay("tomorrow")
    with pytest.raises(InvalidArguments, match="steps='x'"):
        move.delay("2026-11-21T00:00:00Z", "x")


def test_hints_alone_check_nothing(jobclaim: Harness) -> None:
    loose.delay("text")
    jobclaim.drain()
    assert ran == ["text"]


def test_a_payload_that_no_longer_fits_fails_before_the_body(jobclaim: Harness) -> None:
    job = jobclaim.repo.create_job("typed.pay", to_payload([{"number": 7}], {}))
    jobclaim.publish(job)
    jobclaim.drain()
    failed = jobclaim.job(job)
    assert ran == []
    assert (failed.status, failed.attempt) == (JobStatus.FAILED, 1)
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.PERMANENT
    assert "order.placed" in failed.failure.message
    with pytest.raises(InvalidArguments):
        jobclaim.app.AsyncResult(job.job_id).get(timeout=1)


def test_a_retry_keeps_its_types(jobclaim: Harness) -> None:
    result = again.delay(ORDER)
    jobclaim.drain()
    assert ran == [ORDER, ORDER]
    assert result.get(timeout=1) == 7


def test_a_chain_hands_models_on(jobclaim: Harness) -> None:
    result = chain(pay.s(ORDER), pay.s(), again.s()).apply_async()
    jobclaim.drain()
    assert result.get(timeout=1) == 7


def test_equal_models_are_one_idempotent_call(jobclaim: Harness) -> None:
    once.delay(ORDER)
    once.delay(order=ORDER.model_dump(mode="json"))
    jobclaim.drain()
    assert len(ran) == 1


def test_an_annotation_that_cannot_be_checked_is_named() -> None:
    class Thing:
        pass

    def body(thing: Thing) -> None:
        """Take what no schema describes."""

    body.__annotations__["thing"] = Thing
    with pytest.raises(InvalidInput, match=r"parameter 'thing' of task 'typed\.body'"):
        plan("typed.body", body, everything=True)


@pytest.mark.parametrize(
    "body",
    [
        lambda: None,
        lambda a, b: None,
        lambda a, b=1, /, c=2: None,
        lambda a, *rest: None,
        lambda a, *, key: None,
        lambda a, *, key=1, **more: None,
    ],
)
def test_a_call_by_position_that_is_taken_to_fit_does(body: Callable[..., None]) -> None:
    made = plan("typed.body", body, everything=False)
    assert made.by_position or "key" in made.signature.parameters
    for count in made.by_position:
        assert made.fits([0] * count, {})
        made.bind([0] * count, {})
