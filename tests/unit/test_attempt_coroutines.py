"""Async bodies: which can be interrupted from outside, and what is refused because nobody awaited it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from celery import Celery, Task, current_task
from celery.exceptions import SoftTimeLimitExceeded

from jobclaim.jobs import JobCancelled
from jobclaim.workers.attempt import checking, coroutines, running
from jobclaim.workers.attempt.coroutines import (
    MARK,
    AsyncBody,
    PlainTask,
    interrupt,
    is_async,
    prepare,
    prepare_instance,
    refuse_awaitable,
)
from tests.support.attempts import attempt_of


async def body() -> int:
    return 1


async def stream() -> Any:
    yield 1


def halves(number: int) -> float:
    return number / 2


class Awaitable:
    """What has no coroutine in it and can be awaited."""

    def __await__(self) -> Any:
        yield


def test_only_a_body_of_this_process_is_interrupted() -> None:
    known = MagicMock()
    with patch.dict(coroutines._bodies, {"key": known}):
        assert interrupt("other") is False
        assert not known.interrupt.called
        assert interrupt("key") is True
    assert known.interrupt.call_args.args == ()


def test_what_nobody_awaited_is_refused_and_a_coroutine_is_closed() -> None:
    never = body()
    for result in (never, stream(), Awaitable()):
        with pytest.raises(TypeError, match="which was never awaited"):
            refuse_awaitable(result, "t")
    assert inspect.getcoroutinestate(never) == inspect.CORO_CLOSED
    refuse_awaitable(7, "t")


def test_a_wrapped_coroutine_function_is_one() -> None:
    def wrapper() -> Any:
        return body()

    assert (is_async(body), is_async(wrapper)) == (True, False)
    wrapper.__wrapped__ = body  # type: ignore[attr-defined]
    assert is_async(wrapper)

    async def waits() -> None:
        """An asynchronous wrapper of a plain function."""

    waits.__wrapped__ = print  # type: ignore[attr-defined]
    assert is_async(waits)


def test_a_body_is_known_by_its_key_while_it_runs() -> None:
    known = MagicMock()
    with coroutines._known("key", known), coroutines._known("", MagicMock()):
        assert (interrupt("key"), interrupt("")) == (True, False)
    assert interrupt("key") is False


# --- a task's ``run``
@pytest.mark.parametrize("is_static", [False, True])
def test_a_class_is_prepared_once(is_static: bool) -> None:
    kind: Any = type("Kind", (Task,), {"run": staticmethod(body) if is_static else body})
    prepare(kind)
    prepared = kind.run
    prepare(kind)
    assert (kind.run, getattr(prepared, MARK)) == (prepared, True)


def test_a_task_that_was_made_before_is_prepared_below_celerys_retries_once() -> None:
    task = Celery(set_as_current=False).task(name="t.body", autoretry_for=(ValueError,))(body)
    task = task._get_current_object()
    prepare_instance(task)
    prepared = task._orig_run
    prepare_instance(task)
    assert (task._orig_run, getattr(prepared, MARK)) == (prepared, True)


def test_a_plain_body_below_celerys_retries_is_left_as_it_is() -> None:
    task = Celery(set_as_current=False).task(name="t.halves", autoretry_for=(ValueError,))(halves)._get_current_object()
    prepare_instance(task)
    assert task._orig_run is halves


def test_a_class_without_a_body_is_left_as_it_is() -> None:
    kind: Any = type("Kind", (), {})
    prepare(kind)
    assert not hasattr(kind, "run")


def test_what_another_base_class_does_with_a_subclass_is_done() -> None:
    made: list[str] = []

    class Noting:
        """A base class that notes its subclasses."""

        def __init_subclass__(cls, **options: Any) -> None:
            super().__init_subclass__(**options)
            made.append(cls.__name__)

    class Both(PlainTask, Noting):
        """A task of both."""

    assert made == ["Both"]


# --- an attempt
def complete(run: Any) -> Any:
    """Run a body as a thread's attempt does, and return its result and the request that counts as running."""
    task = Celery(set_as_current=False).task(name=f"t.{run.__name__}")(run)
    task.push_request(called_directly=False)

    def attempt() -> Any:
        running.enter(None)
        return coroutines.complete(run(), task), coroutines._inside.get()

    return contextvars.copy_context().run(attempt)


def prepared(name: str, run: Any) -> Any:
    """Make a task of a prepared class."""
    kind: Any = type("Prepared", (Task,), {"name": name, "run": staticmethod(run)})
    prepare(kind)
    return Celery(set_as_current=False).register_task(kind())


def test_an_attempt_in_a_thread_needs_no_soft_limit_and_leaves_no_request_behind() -> None:
    assert complete(body) == (1, None)


def test_an_eager_call_from_a_running_loop_has_its_task() -> None:
    async def named() -> str:
        return str(current_task.name)

    async def view() -> Any:
        return complete(named)

    assert asyncio.run(view()) == ("t.named", None)


def test_what_a_decorator_returns_without_calling_the_body_is_the_result() -> None:
    def cached() -> int:
        return 7

    cached.__wrapped__ = body  # type: ignore[attr-defined]
    task = prepared("t.cached", cached)
    with attempt_of(task):
        assert task.run() == 7


def test_the_body_of_another_task_is_a_coroutine_for_a_plain_body() -> None:
    other = prepared("t.other", body)
    with attempt_of(prepared("t.plain", halves)):
        assert asyncio.run(other.run()) == 1


def test_a_cancelled_job_ends_as_one_though_its_body_lets_the_cancel_escape() -> None:
    async def lets_it_escape() -> None:
        raise asyncio.CancelledError

    cancelled = JobCancelled("a person")
    with patch.object(checking, "check_cancelled", side_effect=cancelled), pytest.raises(JobCancelled):
        complete(lets_it_escape)


def test_a_body_that_has_not_begun_is_not_at_work() -> None:
    begins = body()
    assert not AsyncBody(begins).is_at_work
    begins.close()


def test_a_cancel_from_within_comes_where_the_body_awaits() -> None:
    async def cancels_itself() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "cancelled"
        return "went on"

    assert asyncio.run(AsyncBody(cancels_itself()).run()) == "cancelled"


def test_a_limit_does_not_count_as_a_cancel_in_the_body() -> None:
    async def cancels() -> int:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(SoftTimeLimitExceeded):
            await asyncio.sleep(60)
        return task.cancelling()

    limited = AsyncBody(cancels())
    limited.interrupt(SoftTimeLimitExceeded())
    assert asyncio.run(limited.run()) == 0


def test_another_error_than_the_cancel_reaches_the_body_itself() -> None:
    interrupted = AsyncBody(MagicMock())
    interrupted._error, interrupted._task = SoftTimeLimitExceeded(), MagicMock()
    error = GeneratorExit()
    assert interrupted._error_to_raise(error) is error
