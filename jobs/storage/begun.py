"""Requests that are begun at the same time and finished one by one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Final, Generic, Self, TypeVar

T = TypeVar("T")

LONGEST_UNREAD_SECONDS: Final = 0.05
"""How long answers may wait to be read by whoever began their requests."""


class Begun(Generic[T]):
    """Work whose requests are under way.

    Parameters
    ----------
    finish : callable
        Waits for the answers and returns the result; called once, by the first thread that wants the result.
    """

    def __init__(self, finish: Callable[[], T]) -> None:
        self._finish = finish
        self._results: list[T] = []
        self._lock = threading.Lock()
        self.began = time.monotonic()

    @property
    def is_done(self) -> bool:
        """Whether there is a result."""
        return bool(self._results)

    def result(self) -> T:
        """Return the result."""
        with self._lock:
            if not self._results:
                self._results.append(self._finish())
        return self._results[0]


class Reader:
    """Finishes what was begun while the thread that began it does something else for long; a context manager.

    Else a request on a new connection would not be sent, and an answer would count as lost after a while.

    Parameters
    ----------
    pool : Executor
        Does it.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._watched: deque[Begun[Any]] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def watch(self, begun: Begun[T]) -> Begun[T]:
        """Watch what was just begun; return it."""
        self._watched.append(begun)
        if self._thread.ident is None:
            self._thread.start()
        return begun

    def _run(self) -> None:
        while not self._ended.wait(LONGEST_UNREAD_SECONDS):
            since = time.monotonic() - LONGEST_UNREAD_SECONDS
            while self._watched and (self._watched[0].is_done or self._watched[0].began <= since):
                begun = self._watched.popleft()
                if not begun.is_done:
                    self._pool.submit(begun.result)


def begun(client: Any, name: str, requests: Sequence[Mapping[str, Any]]) -> list[Callable[..., Any]]:
    """Begin the first tries of requests; return for each what does, from there, the same as the client's method.

    A client that cannot begin requests makes each of them when its function is called.
    """
    if can_begin(client):
        return client.begin(name, requests)  # type: ignore[no-any-return]
    return [getattr(client, name)] * len(requests)


def can_begin(client: Any) -> bool:
    """Return whether a client makes several requests at the same time on one thread."""
    from jobclaim.jobs.storage.lean import LeanClient  # it loads libcurl, which such a client has loaded

    return isinstance(client, LeanClient)
