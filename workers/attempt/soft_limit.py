"""The soft time limit's signal in a child of the pool: what handles it, and when it is dropped.

Recording an outcome is retried as long as the lease lasts, also through an outage. The limit's signal, raised in the
middle of that, would turn the success of a body that returned in time into a failure. The hard limit, which the main
process enforces, still applies.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from billiard.pool import SIG_SOFT_TIMEOUT, soft_timeout_sighandler

Handler = Callable[..., Any]

_of_body: Handler | None = None


def passes_by() -> AbstractContextManager[None]:
    """Drop the signal inside the block; do nothing outside a child of the pool."""
    return _Replaced(signal.SIG_IGN)


@contextmanager
def handled_by(handler: Handler) -> Iterator[None]:
    """Let a body that runs an event loop handle the soft limit's signal inside the block; no effect outside a child
    process.
    """
    global _of_body  # noqa: PLW0603 - a child runs one body at a time, in its main thread
    before, _of_body = _of_body, handler
    try:
        with _Replaced(handler):
            yield
    finally:
        _of_body = before


class _Replaced(AbstractContextManager[None]):
    """Another handler of the signal inside the block."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._known: Any = None

    def __enter__(self) -> None:
        known = signal.getsignal(SIG_SOFT_TIMEOUT) if threading.current_thread() is threading.main_thread() else None
        if known is not None and (known is soft_timeout_sighandler or known is _of_body):
            self._known = known
            signal.signal(SIG_SOFT_TIMEOUT, self._handler)

    def __exit__(self, *_: object) -> None:
        if self._known is not None:
            signal.signal(SIG_SOFT_TIMEOUT, self._known)
