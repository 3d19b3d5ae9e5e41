"""What the bodies under this process's claims keep, one a claim."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from jobclaim.jobs.protocol.claims import CAPACITY

Run = TypeVar("Run")


class Runs(Generic[Run]):
    """Thread-safe, bounded memory of running bodies, by their claims' tokens."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, token: str) -> Run | None:
        """Give what a body keeps; ``None`` where it keeps nothing."""
        return self._runs.get(token)

    def keep(self, token: str, run: Run) -> Run:
        """Keep it; the first of two of one claim stays, and is given."""
        with self._lock:
            run = self._runs.setdefault(token, run)
            while len(self._runs) > self._capacity:
                self._runs.popitem(last=False)
            return run

    def forget(self, token: str) -> None:
        """Drop what the body of a claim that is over kept."""
        with self._lock:
            self._runs.pop(token, None)
