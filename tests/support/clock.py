"""A clock that only the test moves."""

from __future__ import annotations

import threading

START_MS = 4_000_000_000_000
"""2 October 2096, in epoch milliseconds. Not in the past: DynamoDB Local deletes what is over by its own clock."""


class ManualClock:
    """Epoch milliseconds that stand still until `advance` is called; a drop-in for `jobclaim.jobs.clock.system_clock`.

    Examples
    --------
    >>> clock = ManualClock()
    >>> before = clock()
    >>> clock.advance(1.5)
    >>> clock() - before
    1500
    """

    def __init__(self, start_ms: int = START_MS) -> None:
        self._now_ms = start_ms
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            return self._now_ms

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds`, a fraction included; backwards is refused."""
        if seconds < 0:
            raise ValueError(f"a clock runs forward only, got advance({seconds!r})")
        with self._lock:
            self._now_ms += round(seconds * 1000)

    def put_back(self, seconds: float) -> None:
        """Set the clock back, as is done to one that was ahead."""
        with self._lock:
            self._now_ms -= round(seconds * 1000)
