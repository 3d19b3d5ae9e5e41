"""``async def`` bodies: run to the end by an attempt, awaited by direct callers, cut short where they await."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from billiard.pool import SIG_SOFT_TIMEOUT
from celery import Celery, Task
from celery.exceptions import SoftTimeLimitExceeded

import jobclaim
from jobclaim import JobTask, Settings
from jobclaim.workers.attempt import coroutines, running, soft_limit
from tests.support.attempts import attempt_of

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="outside")


class InContext(Task):
    """A base class that wraps the body, as those of web frameworks do."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token = place.set("inside")
        try:
            return self.run(*args, **kwargs)
        finally:
            place.reset(token)


@pytest.fixture(scope="module")
def app() -> Iterator[Celery]:
    made = Celery("async-bodies", set_as_current=False)
    jobclaim.install(made, Settings(endpoint_url="http://127.0.0.1:1"))
    made.conf.task_always_eager = True
    yield made
    made.close()


Register = Callable[..., Any]


@pytest.fixture(params=["job", "plain"])
def register(app: Celery, request: pytest.FixtureRequest) -> Register:
    """Make a task on either path."""
    options = {"base": JobTask} if request.param == "job" else {}

    def make(body: Any, **more: Any) -> Any:
        return app.task(name=f"t.{body.__name__}.{request.node.name}", **{**options, **more})(body)

    return make


def test_an_eager_call_gives_what_the_coroutine_returns(register: Register) -> None:
    async def add(a: int, *, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    assert register(add).delay(1, b=2).get() == 3


def test_a_bound_body_has_its_request_and_can_retry(register: Register) -> None:
    async def again(self: Any) -> list[Any]:
        await asyncio.sleep(0)
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return [self.request.retries, self.request.id is not None]

    assert register(again, bind=True).delay().get() == [2, True]


def test_exceptions_that_are_tried_again_are(register: Register) -> None:
    async def flaky(self: Any) -> int:
        await asyncio.sleep(0)
        if not self.request.retries:
            raise ConnectionError("once")
        return int(self.request.retries)

    task = register(flaky, bind=True, autoretry_for=(ConnectionError,), default_retry_delay=0)
    assert task.delay().get() == 1


def test_a_failure_is_the_coroutines_own(register: Register) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ConnectionError("closed")

    result = register(fails).delay()
    assert (result.state, repr(result.result)) == ("FAILURE", "ConnectionError('closed')")


def test_a_direct_call_is_a_coroutine_also_within_another_body(register: Register) -> None:
    async def inner(value: int) -> int:
        return value + 1

    task = register(inner)

    async def outer() -> int:
        return int(await task(1)) + int(await task.run(1))

    assert asyncio.run(task(1)) == 2
    assert register(outer).delay().get() == 4


def test_an_eager_call_from_a_running_loop_works_with_its_request(register: Register) -> None:
    async def told(self: Any) -> bool:
        await asyncio.sleep(0)
        return bool(self.request.is_eager)

    task = register(told, bind=True)

    async def view() -> Any:
        return task.delay().get()

    assert asyncio.run(view()) is True


def test_what_the_body_binds_is_bound_when_it_has_ended(register: Register) -> None:
    async def bind() -> str:
        place.set("bound")
        await asyncio.sleep(0)
        return place.get()

    task = register(bind)

    def call() -> tuple[Any, str]:
        with attempt_of(task):
            return task.run(), place.get()

    assert contextvars.copy_context().run(call) == ("bound", "bound")


def test_a_wrapping_call_wraps_the_whole_coroutine(app: Celery) -> None:
    async def where() -> str:
        await asyncio.sleep(0)
        return place.get()

    assert app.task(name="t.where", base=InContext)(where).delay().get() == "inside"


def test_a_body_below_a_plain_decorator_is_known_as_asynchronous(register: Register) -> None:
    from functools import wraps

    def logged(function: Any) -> Any:
        @wraps(function)
        def call(*args: Any) -> Any:
            return function(*args)

        return call

    async def body(value: int) -> int:
        return value

    assert register(logged(body)).delay(5).get() == 5


@pytest.mark.parametrize("ignored", [False, True])
def test_an_awaitable_that_a_plain_body_returns_is_a_failure(register: Register, ignored: bool) -> None:
    def forgot() -> Any:
        return asyncio.sleep(0)

    def stream() -> Any:
        async def numbers() -> Any:
            yield 1

        return numbers()

    for body in (forgot, stream):
        result = register(body, ignore_result=ignored).delay()
        assert result.state == "FAILURE"
        assert "which was never awaited" in str(result.result)


def test_a_subclass_may_await_the_body_that_it_inherits(app: Celery) -> None:
    class First(JobTask):
        name = "t.first"

        async def run(self, value: int) -> int:
            await asyncio.sleep(0)
            return value

    class Second(First):
        name = "t.second"

        async def run(self, value: int) -> int:
            return 10 * await super().run(value)

    assert app.register_task(First()).delay(2).get() == 2
    assert app.register_task(Second()).delay(2).get() == 20


# --- cut short
class Cut:
    """A coroutine that says how it was cut short."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def interrupts(self, body: coroutines.AsyncBody, error: BaseException | None) -> None:
        """Interrupt it, once it has begun."""
        self.begun.wait(10)
        body.interrupt(error)

    async def body(self, seconds: float = 30) -> str:
        self.begun.set()
        try:
            await asyncio.gather(asyncio.sleep(seconds), asyncio.sleep(seconds))
        except (asyncio.CancelledError, SoftTimeLimitExceeded) as error:
            await asyncio.sleep(0)  # cleaning up may await
            return type(error).__name__
        return "slept"


def test_an_exception_is_thrown_in_where_the_body_awaits() -> None:
    cut = Cut()
    body = coroutines.AsyncBody(cut.body())
    threading.Thread(target=cut.interrupts, args=(body, SoftTimeLimitExceeded())).start()
    assert asyncio.run(body.run()) == "SoftTimeLimitExceeded"


def test_a_cancel_is_asyncios_own() -> None:
    cut = Cut()
    body = coroutines.AsyncBody(cut.body())
    threading.Thread(target=cut.interrupts, args=(body, None)).start()
    assert asyncio.run(body.run()) == "CancelledError"


def test_what_comes_before_the_loop_runs_is_not_lost() -> None:
    body = coroutines.AsyncBody(Cut().body())
    body.interrupt(SoftTimeLimitExceeded())
    assert asyncio.run(body.run()) == "SoftTimeLimitExceeded"


def test_a_limit_leaves_timeouts_and_groups_of_the_body_whole() -> None:
    async def body() -> list[str]:
        seen = []
        try:
            async with asyncio.timeout(60):
                await asyncio.sleep(60)
        except SoftTimeLimitExceeded as error:
            seen.append(type(error).__name__)
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError as error:
            seen.append(type(error).__name__)
        return seen

    made = coroutines.AsyncBody(body())
    made.interrupt(SoftTimeLimitExceeded())
    assert asyncio.run(made.run()) == ["SoftTimeLimitExceeded", "TimeoutError"]


def test_the_soft_limit_of_a_thread_comes_by_its_own_loop() -> None:
    def attempt() -> Any:
        running.enter(0.02)
        return asyncio.run(coroutines.AsyncBody(Cut().body()).run())

    assert contextvars.copy_context().run(attempt) == "SoftTimeLimitExceeded"


@pytest.mark.usefixtures("in_child")
@pytest.mark.parametrize("kind", ["waits", "computes", "writes"])
def test_the_signal_of_a_process_reaches_the_body_and_not_its_loop(register: Register, kind: str) -> None:
    async def body() -> str:
        loop = asyncio.get_running_loop()
        try:
            if kind == "waits":
                loop.call_later(0.02, os.kill, os.getpid(), SIG_SOFT_TIMEOUT)
                await asyncio.sleep(30)
            elif kind == "computes":
                os.kill(os.getpid(), SIG_SOFT_TIMEOUT)
                time.sleep(0)
            else:
                with soft_limit.passes_by():
                    os.kill(os.getpid(), SIG_SOFT_TIMEOUT)
                return "written"
        except SoftTimeLimitExceeded:
            await asyncio.sleep(0)
            return "cut short"
        return "slept"

    assert register(body).delay().get() == ("written" if kind == "writes" else "cut short")


def test_a_body_that_lets_its_own_cancel_escape_is_a_failure(register: Register) -> None:
    async def body() -> None:
        raise asyncio.CancelledError

    result = register(body).delay()
    assert result.state == "FAILURE"
    assert isinstance(result.result, coroutines.BodyCancelled)
