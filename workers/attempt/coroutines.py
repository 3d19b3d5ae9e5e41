"""``async def`` bodies: each attempt runs its coroutine to the end in its own event loop.

::

    tracer ──▶ task.run(...) ──▶ coroutine ──▶ Coroutine.run ──▶ the result, or what it raised
                                                   ▲
    soft limit ── SoftTimeLimitExceeded ───────────┤  thrown in where the body awaits
    cancel ────── asyncio.CancelledError ──────────┘

Called directly, ``await task(...)``, the body is a plain coroutine. In a child of a prefork pool the soft limit's
signal may arrive while the loop waits: it must not end the loop, which would leave the body no time to clean up, so it
is raised in the body. In a thread the loop's own timer raises it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import time
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final, TypeVar

from celery import Task, _state
from celery.exceptions import SoftTimeLimitExceeded

from jobclaim.workers.attempt import checking, running, soft_limit
from jobclaim.workers.messages.message import delivery_of

T = TypeVar("T")

MARK: Final = "_jobclaim_runs_coroutine"
"""Attribute that marks a prepared ``run``."""

NEVER_AWAITED: Final = frozenset({type(None), bool, int, float, str, list, dict, tuple})
"""Exact types of results that are no awaitable."""

_inside: ContextVar[Any] = ContextVar("inside", default=None)
_bodies: Final[dict[str, AsyncBody]] = {}
"""Async bodies of this process's threads, by the key of their delivery."""


class BodyCancelled(RuntimeError):
    """An async body ended with ``asyncio.CancelledError``, although its job was not cancelled."""


class AsyncBody:
    """A coroutine that runs as the body of an attempt, and into which exceptions can be thrown.

    Parameters
    ----------
    coroutine
        The coroutine of an ``async def``.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._error: BaseException | None = None
        self._early: list[BaseException | None] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    async def run(self) -> Any:
        """Run it; await this once."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._set_timer(self._loop)
        for error in self._early:
            self._loop.call_soon(self._throw, error)
        return await self._drive()

    @property
    def is_at_work(self) -> bool:
        """Return whether its own code is being executed in this thread at the moment."""
        return self._task is not None and asyncio.current_task(self._loop) is self._task

    def interrupt(self, error: BaseException | None = None) -> None:
        """Throw an exception into it where it awaits; ``None`` cancels it. Safe in any thread or signal handler."""
        if self._loop is None:
            self._early.append(error)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._throw, error)

    def _throw(self, error: BaseException | None) -> None:
        if self._task is not None:
            self._error = error
            self._task.cancel()

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the loop, which ends with the body, raise the soft limit of an attempt in a thread."""
        attempt = running.current()
        if attempt is not None and attempt.soft_at is not None:
            wait = max(0.0, attempt.soft_at - time.monotonic())
            loop.call_later(wait, self._throw, SoftTimeLimitExceeded(attempt.soft_limit))

    @types.coroutine
    def _drive(self) -> Generator[Any, None, Any]:
        """Step through the coroutine; if `interrupt` has cancelled its task, throw the exception that it was given."""
        raised: BaseException | None = None
        while True:
            try:
                waits_for = self._coroutine.send(None) if raised is None else self._coroutine.throw(raised)
            except StopIteration as stop:
                return stop.value
            raised = None
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - thrown into the body, which may handle it
                raised = self._error_to_raise(error)

    def _error_to_raise(self, error: BaseException) -> BaseException:
        stored, self._error = self._error, None
        if stored is None or not isinstance(error, asyncio.CancelledError) or self._task is None:
            return error
        self._task.uncancel()
        return stored


# --- a task's ``run``
class PlainTask(Task):
    """Default base class of an app's tasks: Celery's own, but the body may be an ``async def``."""

    abstract = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        prepare(cls)


def prepare(task: type[Any]) -> None:
    """Prepare a task class whose body is an ``async def`` to run to its end wherever an attempt calls it."""
    static = inspect.getattr_static(task, "run", None)
    run = static.__func__ if isinstance(static, staticmethod) else static
    if not is_async(run) or getattr(run, MARK, False):
        return
    run_ = _to_its_end(run, task)
    task.run = staticmethod(run_) if isinstance(static, staticmethod) else run_


def prepare_instance(task: Any) -> None:
    """Prepare a task that Celery has made already; Celery's wrapper for retries stays."""
    original = vars(task).get("_orig_run")
    if original is None:
        prepare(type(task))
    elif is_async(original) and not getattr(original, MARK, False):
        task._orig_run = _to_its_end(original, type(task))


def is_async(run: Any) -> bool:
    """Return whether a function, or what its decorators wrap, is an ``async def``."""
    return inspect.iscoroutinefunction(run) or inspect.iscoroutinefunction(inspect.unwrap(run))


def refuse_awaitable(result: Any, task: str) -> None:
    """Refuse an awaitable that a body returned without awaiting it: its work has not been done.

    Raises
    ------
    TypeError
    """
    if type(result) in NEVER_AWAITED:  # most results, at no cost
        return
    if inspect.iscoroutine(result):
        result.close()  # avoids Python's warning that it was never awaited
    elif not inspect.isawaitable(result) and not inspect.isasyncgen(result):
        return
    raise TypeError(
        f"the body of task {task!r} returned {type(result).__name__}, which was never awaited, so its work was not "
        "done; write `async def` and `await` it, or run it with asyncio.run()"
    )


def _to_its_end(run: Callable[..., Any], owner: type[Any]) -> Callable[..., Any]:
    @wraps(run)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = run(*args, **kwargs)
        task = _state.get_current_task()
        if not inspect.iscoroutine(result) or not _is_attempt(task, owner):
            return result
        return complete(result, task)

    setattr(call, MARK, True)
    return call


def _is_attempt(task: Any, owner: type[Any]) -> bool:
    """Return whether a worker or an eager call runs the task. A body that calls it awaits the coroutine itself."""
    request = task.request_stack.top if isinstance(task, owner) else None
    return request is not None and not request.called_directly and _inside.get() is not request


def complete(coroutine: Coroutine[Any, Any, Any], task: Any) -> Any:
    """Run the coroutine of an attempt to its end; its changes to the context are kept.

    Raises
    ------
    jobs.JobCancelled
        Its job was cancelled.
    BodyCancelled
    """
    request = task.request_stack.top
    if asyncio._get_running_loop() is not None:
        return _in_a_thread(coroutine, task, request)  # an eager call from code that runs in a loop itself
    body, context = AsyncBody(coroutine), contextvars.copy_context()
    context.run(_inside.set, request)
    with _known(delivery_of(request), body), _signalled(body), asyncio.Runner() as runner:
        try:
            return runner.run(body.run(), context=context)
        except asyncio.CancelledError as error:
            checking.check_cancelled()
            raise BodyCancelled(
                f"the body of task {task.name!r} ended with asyncio.CancelledError although its job was not "
                "cancelled; catch the error where the body awaits something that may be cancelled"
            ) from error
        finally:
            _keep(context)


def interrupt(key: str) -> bool:
    """Cancel the async body of a delivery that runs in a thread of this process; ``False`` if there is none."""
    body = _bodies.get(key)
    if body is not None:
        body.interrupt()
    return body is not None


def _in_a_thread(coroutine: Coroutine[Any, Any, Any], task: Any, request: Any) -> Any:
    def work() -> Any:
        _state._task_stack.push(task)
        task.request_stack.push(request)
        try:
            return complete(coroutine, task)
        finally:
            task.request_stack.pop()
            _state._task_stack.pop()

    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(context.run, work).result()


@contextmanager
def _known(key: str, body: AsyncBody) -> Iterator[None]:
    if not key:
        yield
        return
    _bodies[key] = body
    try:
        yield
    finally:
        del _bodies[key]


@contextmanager
def _signalled(body: AsyncBody) -> Iterator[None]:
    """Raise the soft limit in the body: directly if its own code is running, else where it awaits."""

    def on_signal(*_: Any) -> None:
        error = SoftTimeLimitExceeded()
        if body.is_at_work:
            raise error
        body.interrupt(error)

    with soft_limit.handled_by(on_signal):
        yield


def _keep(context: contextvars.Context) -> None:
    """Copy the variables that the body set into this context, such as the job of its log lines and the parent of its
    spans.
    """
    for variable, value in context.items():
        if variable is not _inside:
            variable.set(value)
