"""Turns for checks that must come one at a time, given fairly: a client that asks often cannot shut out others that
wait.

The next turn goes to the client that was served longest ago, and among its waiting names to the one served longest ago.
If all places are taken, the client with the most places loses its newest one.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

PLACES: Final = 200
"""Requests that may wait at once, and with them the connections of the dashboard's server."""
WAIT_SECONDS: Final = 30.0
REMEMBERED: Final = 1_000
"""Clients and names of which it is remembered when they were served."""


@dataclass(eq=False, slots=True)
class Waiter:
    """A request that waits."""

    client: str
    name: str
    go: threading.Event = field(default_factory=threading.Event)
    admitted: bool = False


class Turns:
    """Grants the turns; thread-safe.

    Parameters
    ----------
    places : int
        Requests that may wait at once.
    seconds : float
        Longest time that a request waits.
    """

    def __init__(self, places: int = PLACES, seconds: float = WAIT_SECONDS) -> None:
        self._places = places
        self._seconds = seconds
        self._waiting: list[Waiter] = []
        self._busy = False
        self._served: dict[tuple[str, ...], int] = {}
        self._count = itertools.count(1)
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, client: str, name: str) -> Iterator[bool]:
        """Wait for a turn, and hold it; yields whether there is one."""
        waiter = Waiter(client, name)
        if not self._enter(waiter):
            yield False
            return
        if not waiter.go.wait(self._seconds):
            with self._lock:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
        if not waiter.admitted:
            yield False
            return
        try:
            yield True
        finally:
            with self._lock:
                self._busy = False
                self._next()

    def _enter(self, waiter: Waiter) -> bool:
        with self._lock:
            if len(self._waiting) >= self._places:
                evicted = self._waiter_to_refuse()
                waiting_by_client = Counter(each.client for each in self._waiting)
                if (
                    waiting_by_client[evicted.client] <= waiting_by_client[waiter.client]
                    and evicted.client != waiter.client
                ):
                    return False
                if evicted.client == waiter.client and evicted.name == waiter.name:
                    return False
                self._waiting.remove(evicted)
                evicted.go.set()
            self._waiting.append(waiter)
            if not self._busy:
                self._next()
            return True

    def _waiter_to_refuse(self) -> Waiter:
        """Return the waiter to turn away: the newest one of the client, and of its user name, that has most waiters."""
        clients = Counter(each.client for each in self._waiting)
        names = Counter((each.client, each.name) for each in self._waiting)
        return max(reversed(self._waiting), key=lambda each: (clients[each.client], names[each.client, each.name]))

    def _next(self) -> None:
        """Admit the waiter whose client, then whose name, was served longest ago. The caller holds the lock."""
        if not self._waiting:
            return
        chosen = min(self._waiting, key=self._last_served)
        self._waiting.remove(chosen)
        self._busy, chosen.admitted = True, True
        now = next(self._count)
        for key in ((chosen.client,), (chosen.client, chosen.name)):
            self._served.pop(key, None)
            self._served[key] = now
        while len(self._served) > REMEMBERED:
            self._served.pop(next(iter(self._served)))
        chosen.go.set()

    def _last_served(self, waiter: Waiter) -> tuple[int, int]:
        return self._served.get((waiter.client,), 0), self._served.get((waiter.client, waiter.name), 0)
