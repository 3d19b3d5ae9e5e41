"""The pool of ``-P threads``: bodies run in threads of the main process, for I/O-bound work.

::

    event loop ── call ──▶ waiting calls ──▶ a thread: accepted, body, answer ──▶ answers ── a byte ──▶ event loop

Celery's own pool of threads runs a request's callbacks in the thread that ran its body, where they race with the event
loop, and wake it up only by chance. Here the event loop runs them, as with processes. Celery's threads also keep a
worker from ending; these are daemons, because a thread cannot be ended: a body that never returns is abandoned when its
job has been released (`TaskPool.abandon`).
"""

from __future__ import annotations

import contextvars
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.concurrency.base import BasePool
from celery.utils.log import get_logger

from jobclaim.workers.attempt import running

logger = get_logger("celery.pool")

WAIT_SECONDS: Final = 0.2
"""Longest time that a stopping pool waits before it checks whether it was abandoned."""
READ_BYTES: Final = 4096

Answer = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class PoolCall:
    """A request that was passed to the pool."""

    target: Callable[..., Any]
    args: Any
    kwargs: Any
    soft_limit: float | None
    accepted: Callable[[int, float], Any] | None
    succeeded: Callable[[Any], Any]
    failed: Callable[[Any], Any]

    def run(self) -> Answer:
        """Run it; return what the event loop is to do with the outcome."""
        running.enter(self.soft_limit)
        try:
            return partial(self.succeeded, self.target(*self.args, **self.kwargs))
        except Exception:  # noqa: BLE001 - the request handles what Celery's tracer does not catch
            return partial(self.failed, ExceptionInfo())
        except BaseException as error:  # noqa: BLE001 - it would end a child process, so it is reported as a lost one
            return partial(self.failed, _lost(error))
        finally:
            running.leave()


class TaskPool(BasePool):
    """A pool of threads, started as needed, at most ``limit``."""

    body_can_be_buffer = True
    signal_safe = False
    uses_semaphore = True  # so that a message that waits for a thread is released like one that waits for a process

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._calls: SimpleQueue[PoolCall | None] = SimpleQueue()
        self._answers: deque[tuple[Answer, bool]] = deque()
        self._threads: list[threading.Thread] = []
        self._unanswered = 0
        self._semaphore = self.options.get("semaphore")
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._woken = False
        self._abandoned = threading.Event()

    # --- the event loop
    def register_with_event_loop(self, loop: Any) -> None:
        """Make the loop run the threads' answers."""
        loop.add_reader(self._reader, self.answer)

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        error_callback: Any = None,
        soft_timeout: float | None = None,
        **_: Any,
    ) -> None:
        """Pass a request to a free thread, or to a new one."""
        self._unanswered += 1
        self._calls.put(
            PoolCall(target, args or (), kwargs or {}, soft_timeout, accept_callback, callback, error_callback)
        )
        if len(self._threads) < min(self._unanswered, self.limit):
            self._start_thread()

    def answer(self) -> None:
        """Run the threads' answers so far."""
        with suppress(BlockingIOError):
            os.read(self._reader, READ_BYTES)
        self._woken = False
        while self._answers:
            act, is_last = self._answers.popleft()
            self._unanswered -= is_last
            try:
                act()
            except Exception:
                logger.exception("a request's callback failed")
            if is_last and self._semaphore is not None:
                self._semaphore.release()  # starts the next request that waits for a thread

    # --- the stop
    def withdraw(self) -> int:
        """Remove the calls that wait for a thread, because their messages are released. Return their number."""
        withdrawn = 0
        with suppress(Empty):
            while True:
                self._calls.get_nowait()
                withdrawn += 1
        self._unanswered -= withdrawn
        self.answer()
        return withdrawn

    def abandon(self) -> None:
        """Stop waiting for bodies: their jobs have been released."""
        self._abandoned.set()

    @property
    def left_behind(self) -> int:
        """Return the bodies that still run although the pool has stopped."""
        return self._unanswered

    def on_stop(self) -> None:
        """Wait until every body has answered, or the pool was abandoned."""
        while self._unanswered and not self._abandoned.is_set():
            select.select([self._reader], [], [], WAIT_SECONDS)
            self.answer()
        for _ in self._threads:
            self._calls.put(None)

    def on_terminate(self) -> None:
        """Handle a cold shutdown: running jobs are being released, and then the pool is abandoned."""
        self.on_stop()

    def _get_info(self) -> dict[str, Any]:
        return {**super()._get_info(), "threads": len(self._threads)}

    # --- the threads
    def _start_thread(self) -> None:
        context = contextvars.copy_context()  # the context that the host bound when the process started
        name = f"body-{len(self._threads)}"
        thread = threading.Thread(target=context.run, args=(self._work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if call.accepted is not None:
                self._post(partial(call.accepted, os.getpid(), time.monotonic()), is_last=False)
            self._post(call.run(), is_last=True)

    def _post(self, act: Answer, *, is_last: bool) -> None:
        self._answers.append((act, is_last))
        if not self._woken:
            self._woken = True
            with suppress(BlockingIOError):  # a full pipe wakes the loop anyway
                os.write(self._writer, b"!")


def _lost(error: BaseException) -> Any:
    try:
        raise WorkerLostError(f"the body raised {error!r}, which ends a process") from error
    except WorkerLostError:
        return ExceptionInfo()
