"""Time as a value that is passed in: epoch milliseconds, UTC."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Gives the current time in epoch milliseconds, UTC."""

BELIEVED_AHEAD_MS: Final = 60_000
"""A stored time that only a clock further ahead than this can have written is not believed."""


def system_clock() -> int:
    """Read the machine's clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000


def wait(seconds: float) -> None:
    """Sleep, as ``time.sleep`` does at this moment: gevent replaces it, at times after this was imported."""
    time.sleep(seconds)
