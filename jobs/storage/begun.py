"""Requests that are begun at the same time and finished one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def begun(client: Any, name: str, requests: Sequence[Mapping[str, Any]]) -> list[Callable[..., Any]]:
    """Make the first tries of requests; return for each what does, from there, the same as the client's method.

    A client that cannot begin requests makes each of them when its function is called.
    """
    if can_begin(client):
        return client.begin(name, requests)  # type: ignore[no-any-return]
    return [getattr(client, name)] * len(requests)


def can_begin(client: Any) -> bool:
    """Return whether a client makes several requests at the same time on one thread."""
    from jobclaim.jobs.storage.lean import LeanClient  # it loads libcurl, which such a client has loaded

    return isinstance(client, LeanClient)
