"""The soft time limit's signal in a child of the pool: what handles it, and when it is dropped.

Recording an outcome is retried as long as the lease lasts, also through an outage. The limit's signal, raised in the
middle of that, would turn the success of a body that returned in time into a failure. The hard limit, which the main
process enforces, still applies.

billiard's handler is replaced once per process, not for each write: a system call and Python's checks around it take
longer than the flag that this handler looks at.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from billiard.pool import SIG_SOFT_TIMEOUT, soft_timeout_sighandler

Handler = Callable[..., Any]


class SoftLimit(AbstractContextManager[None]):
    """The handler of the signal; a child runs one body at a time, in its main thread."""

    def __init__(self) -> None:
        self._writes = 0
        self._has_ended = False
        self._of_body: Handler | None = None

    def __call__(self, *received: Any) -> None:
        """Handle the signal as the body does, else as billiard does; drop it while an outcome is written."""
        if not (self._writes or self._has_ended):
            (self._of_body or soft_timeout_sighandler)(*received)

    def __enter__(self) -> None:
        """Begin to write an outcome. In another thread than the main one, nothing changes."""
        if _is_main_thread():
            if not self._writes:
                self._handle()
            self._writes += 1

    def __exit__(self, *_: object) -> None:
        if _is_main_thread():
            self._writes -= 1

    def begin(self) -> None:
        """Begin an attempt."""
        self._has_ended = False

    def end(self) -> None:
        """Drop the signal until the next attempt begins."""
        if _is_main_thread():
            self._handle()
            self._has_ended = True

    @contextmanager
    def handled_by(self, handler: Handler) -> Iterator[None]:
        """Pass the signal to a body that runs an event loop, inside the block."""
        if not _is_main_thread():
            yield
            return
        self._handle()
        before, self._of_body = self._of_body, handler
        try:
            yield
        finally:
            self._of_body = before

    def _handle(self) -> None:
        """Replace billiard's handler, where that is in place: not outside a child, nor where the body has its own."""
        if signal.getsignal(SIG_SOFT_TIMEOUT) is soft_timeout_sighandler:
            signal.signal(SIG_SOFT_TIMEOUT, self)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


_handler: Final = SoftLimit()


def passes_by() -> AbstractContextManager[None]:
    """Drop the signal inside the block; do nothing outside a child of the pool."""
    return _handler


def begin_attempt() -> None:
    """Begin an attempt, whose limit counts again."""
    _handler.begin()


def end_attempt() -> None:
    """Drop the signal until the next attempt begins: the body has returned, and its answer is on the way."""
    _handler.end()


def handled_by(handler: Handler) -> AbstractContextManager[None]:
    """Pass the signal to a body that runs an event loop, inside the block; do nothing outside a child of the pool."""
    return _handler.handled_by(handler)
