"""The soft time limit while an attempt's end is written: the body is over, so there is nothing to cut short.

An end is written as long as the lease lasts, through an outage too. The limit's signal, raised in the middle of that,
would make a failure of a body that returned in time. The hard limit, which is the main process's, still holds.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from billiard.pool import SIG_SOFT_TIMEOUT, soft_timeout_sighandler


@contextmanager
def passes_by() -> Iterator[None]:
    """Drop the signal inside the block; does nothing outside a child of the pool."""
    in_child = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(SIG_SOFT_TIMEOUT) is soft_timeout_sighandler
    )
    if not in_child:
        yield
        return
    signal.signal(SIG_SOFT_TIMEOUT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(SIG_SOFT_TIMEOUT, soft_timeout_sighandler)
