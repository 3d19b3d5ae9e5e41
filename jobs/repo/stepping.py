"""Steps: a function runs, its result is written with the job, and no later attempt runs it again."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jobclaim.jobs import checks
from jobclaim.jobs.durable import calls, typed
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.errors import InvalidInput
from jobclaim.jobs.kept import MAX_STEPS, Step
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.protocol import durable
from jobclaim.jobs.repo import room
from jobclaim.jobs.repo.keeping import MAX_NAME, Keeping
from jobclaim.jobs.transitions import Move

log = get_logger("jobclaim.jobs")

_under_way: ContextVar[tuple[str, ...]] = ContextVar("steps_under_way", default=())


class Stepping(Keeping):
    """Runs steps. Thread-safe."""

    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function once in the job's life: see `JobRepo.step`."""
        call = self._call(name, function, args, kwargs)
        with self._alone(name):
            if (known := self._finished(name, *call)) is not None:
                return self._result(known, function)
            started = time.monotonic()
            return self._record(name, function, call, completed_now(function(*args, **kwargs), name), started)

    async def astep(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run an asynchronous function as a step in the body's own event loop; see `JobRepo.step`."""
        call = self._call(name, function, args, kwargs)
        lock = self._lock_of(name)
        await asyncio.to_thread(lock.acquire)
        mark = _under_way.set((*_under_way.get(), name))
        try:
            if (known := self._finished(name, *call)) is not None:
                return await asyncio.to_thread(self._result, known, function)
            started, result = time.monotonic(), function(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
            return await asyncio.to_thread(self._record, name, function, call, result, started)
        finally:
            _under_way.reset(mark)
            lock.release()

    def _call(self, name: str, function: Any, args: Any, kwargs: Any) -> tuple[str, str]:
        step_name(name)
        if name in _under_way.get():
            raise InvalidInput(f"step {name!r} was started inside itself; give the inner step another name")
        return calls.name_of(function), calls.hash_of(function, args, kwargs)

    def _lock_of(self, name: str) -> threading.Lock:
        with self._lock:
            return self._names.setdefault(name, threading.Lock())

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Let one thread at a time run a step; the others find its result."""
        with self._lock_of(name):
            mark = _under_way.set((*_under_way.get(), name))
            try:
                yield
            finally:
                _under_way.reset(mark)

    def _finished(self, name: str, function: str, arguments: str) -> Step | None:
        with self._lock:
            self._go_on()
            known = self.job.step_named(name)
            if known is not None:
                calls.check_same_call(known, function, arguments)
                return known
            room.check_number(
                self.job.step_count, MAX_STEPS, "finished steps", "let one step do more, or submit other jobs"
            )
        return None

    def _result(self, known: Step, function: Callable[..., Any]) -> Any:
        return typed.from_json(self._repo.large.value(known.result), function)

    def _record(
        self, name: str, function: Callable[..., Any], call: tuple[str, str], result: Any, started: float
    ) -> Any:
        plain = typed.to_json(result, function)
        what = f"the result of step {name!r}"
        took = round((time.monotonic() - started) * 1000)
        with self._lock:
            stored = codec.decode(codec.encode(self._fitting(plain, what)))  # the value as later attempts read it
            while True:
                self._go_on()
                # recorded meanwhile by another process with the claim's token
                if (other := self.job.step_named(name)) is not None:
                    calls.check_same_call(other, *call)
                    return self._result(other, function)
                step = Step(
                    name=name,
                    function=call[0],
                    arguments=call[1],
                    result=stored,
                    attempt=self.job.attempt,
                    at=self._repo.clock(),
                    took_ms=took,
                )
                if self._write(Move.STEP, durable.with_step(self._with_reports(self.job), step)):
                    log.debug("step.recorded", step=name, took_ms=took, **self.job.log_context())
                    return self._result(step, function)


def step_name(name: Any) -> str:
    """Require the name of a step. Raises `InvalidInput`."""
    return checks.text(name, "name of a step", MAX_NAME)


def completed_now(result: Any, name: str) -> Any:
    """Run to its end the coroutine that an asynchronous function has returned."""
    if not inspect.isawaitable(result):
        return result
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(result))
    if inspect.iscoroutine(result):
        result.close()
    raise InvalidInput(
        f"step {name!r} has an asynchronous function, and so has its job: call `await self.astep({name!r}, ...)` "
        "instead"
    )


async def _awaited(result: Any) -> Any:
    return await result
