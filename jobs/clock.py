"""Time as an injected value: epoch milliseconds, UTC."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Returns the current time in epoch milliseconds, UTC."""

BELIEVED_AHEAD_MS: Final = 60_000
"""How far ahead a stored time may be; one further ahead comes from a wrong clock and is ignored."""


def system_clock() -> int:
    """Read the machine's clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def wait(seconds: float) -> None:
    """Sleep with the current ``time.sleep``: gevent may replace it after this module was imported."""
    time.sleep(seconds)
