"""The soft time limit's signal in a child of the pool: what handles it, and when it is dropped.

Recording an outcome is retried as long as the lease lasts, also through an outage. The limit's signal, raised in the
middle of that, would turn the success of a body that returned in time into a failure. The hard limit, which the main
process enforces, still applies.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from billiard.pool import SIG_SOFT_TIMEOUT, soft_timeout_sighandler

Handler = Callable[..., Any]

_of_body: Handler | None = None


@contextmanager
def passes_by() -> Iterator[None]:
    """Drop the signal inside the block; do nothing outside a child of the pool."""
    with _replaced(signal.SIG_IGN):
        yield


@contextmanager
def handled_by(handler: Handler) -> Iterator[None]:
    """Pass the signal to a body that runs an event loop, inside the block; do nothing outside a child of the pool."""
    global _of_body  # noqa: PLW0603 - a child runs one body at a time, in its main thread
    before, _of_body = _of_body, handler
    try:
        with _replaced(handler):
            yield
    finally:
        _of_body = before


@contextmanager
def _replaced(handler: Any) -> Iterator[None]:
    known = signal.getsignal(SIG_SOFT_TIMEOUT) if threading.current_thread() is threading.main_thread() else None
    if known is None or (known is not soft_timeout_sighandler and known is not _of_body):
        yield
        return
    signal.signal(SIG_SOFT_TIMEOUT, handler)
    try:
        yield
    finally:
        signal.signal(SIG_SOFT_TIMEOUT, known)
