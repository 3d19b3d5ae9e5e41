"""Time as a value that is passed in: epoch milliseconds, UTC."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Gives the current time in epoch milliseconds, UTC."""


def system_clock() -> int:
    """Read the machine's clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000
