"""State of the bodies that run under this process's claims, one entry per claim."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from jobclaim.jobs.locks import ProcessLock
from jobclaim.jobs.protocol.claims import CAPACITY

Run = TypeVar("Run")


class Runs(Generic[Run]):
    """Thread-safe, bounded memory of running bodies, keyed by claim token."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._lock = ProcessLock()

    def get(self, token: str) -> Run | None:
        """Return the state of a body; ``None`` if it has none."""
        return self._runs.get(token)

    def keep(self, token: str, run: Run) -> Run:
        """Store an entry and return it; if the claim already has one, return that one."""
        with self._lock:
            run = self._runs.setdefault(token, run)
            if len(self._runs) > self._capacity:
                self._runs.popitem(last=False)
            return run

    def forget(self, token: str) -> None:
        """Drop the entry of a claim that has ended."""
        if token in self._runs:  # few bodies have one
            with self._lock:
                self._runs.pop(token, None)
