"""Host check: accept only configured host names, against DNS rebinding and forged Host headers.

An attacker's page can point its own name at 127.0.0.1 and then read the responses as same-origin. The browser still
sends that name as ``Host``, so a request to any other name is refused before anything else handles it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from jobclaim.dashboard.security.asgi import HEALTH, App, Headers, Receive, Refusal, Scope, Send, path_of, refuse

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


def host_refusal(hosts: list[str], allowed: frozenset[str]) -> Refusal | None:
    """Check a request's Host headers: exactly one, with a configured name. Any port is accepted."""
    found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if found is None:
        return Refusal(400, "host", "the request does not name exactly one valid host")
    if found["name"].lower().rstrip(".") not in allowed:
        return Refusal(
            421, "host", "the dashboard does not answer to this name; add it to JOBCLAIM_DASHBOARD_HOSTS if it is yours"
        )
    return None


class HostGuard:
    """ASGI middleware that refuses requests to other host names."""

    def __init__(self, app: App, *, allowed: Iterable[str]) -> None:
        self._app = app
        self._allowed = frozenset(name.lower() for name in (*LOOPBACK, *allowed))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and path_of(scope) != HEALTH:
            refusal = host_refusal(Headers.of(scope).all("host"), self._allowed)
            if refusal is not None:
                return await refuse(refusal, send)
        return await self._app(scope, receive, send)
