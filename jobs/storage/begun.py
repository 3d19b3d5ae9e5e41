"""Requests that are begun at the same time and finished one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

LONGEST_UNREAD_SECONDS: Final = 0.5
"""How long answers may wait to be read: after their client's timeout they would count as lost."""


class Begun(Generic[T]):
    """Work whose requests are under way.

    Parameters
    ----------
    finish : callable
        Waits for the answers and returns the result; called once.
    """

    def __init__(self, finish: Callable[[], T]) -> None:
        self._finish = finish
        self._results: list[T] = []
        self._began = time.monotonic()

    def result(self) -> T:
        """Return the result."""
        if not self._results:
            self._results.append(self._finish())
        return self._results[0]

    def is_due(self) -> bool:
        """Return whether the answers have waited long enough, and should be read now."""
        return not self._results and time.monotonic() - self._began > LONGEST_UNREAD_SECONDS


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
