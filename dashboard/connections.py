"""Connections of the dashboard's own server: bounded in number, per client and in time, so no client can hold them all.

::

    a new connection   its client has PER_CLIENT already ─▶ of those, the one longest without a request is closed
                       all have MOST already ────────────▶ of all, the one longest without a request is closed
                       each of those has a request ──────▶ it gets the health check only, within RESERVE; else closed
    a head             complete within HEAD_SECONDS of the connection, or of the last response; else closed
    a request          answered, and its answer taken, within REQUEST_SECONDS; else closed
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from jobclaim.dashboard.security.asgi import HEALTH, App, Receive, Refusal, Scope, Send, refuse
from jobclaim.dashboard.security.turns import PLACES

MOST: Final = PLACES
"""Connections at once: each may hold a request that waits for its check."""
PER_CLIENT: Final = 64
"""Connections of one address at once; a proxy in front is one client and keeps fewer open."""
RESERVE: Final = 16
"""Further connections that get the health check only."""
HEAD_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 60.0
LONGEST_HEAD: Final = 32_768
"""Bytes of a request's line and headers."""
FULL: Final = Refusal(
    503,
    "connections",
    "all connections are in use; try again in a minute",
    (("retry-after", "60"), ("connection", "close")),
)


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with these bounds."""

    waits_since: float | None = None
    """Since when it has had no request, by the loop's clock; ``None`` while one is served."""
    _timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """The client's address."""
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit a connection; if there are too many, close an idle one."""
        super().connection_made(transport)
        self._wait()
        others = [each for each in self.connections if each is not self and isinstance(each, BoundedProtocol)]
        same_client = [each for each in others if each.address == self.address]
        if (len(same_client) >= PER_CLIENT and not _close_idlest(same_client)) or (
            len(others) >= MOST and not _close_idlest(others)
        ):
            self._serve_health_only(len(others))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read more of a request; once its head is complete, another time limit applies."""
        super().data_received(data)
        if self.waits_since is not None and self._serves():
            self._serve()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have come already."""
        self._wait()
        super().on_response_complete()
        if self._serves():
            self._serve()

    def _serves(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _serve(self) -> None:
        self.waits_since = None
        self._start_timer(REQUEST_SECONDS)

    def drop(self) -> None:
        """Close the connection without an answer."""
        self._stop_timer()
        self.connections.discard(self)
        self.transport.abort()

    def _serve_health_only(self, others: int) -> None:
        if others >= MOST + RESERVE:
            self.drop()
        else:
            self.app: Any = health_only(self.app)

    def _wait(self) -> None:
        self.waits_since = self.loop.time()
        self._start_timer(HEAD_SECONDS)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.drop)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def health_only(app: App) -> App:
    """Make an app that answers the health check and refuses everything else."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != HEALTH:
            return await refuse(FULL, send)
        return await app(scope, receive, send)

    return answer


def _close_idlest(connections: list[BoundedProtocol]) -> bool:
    """Close the connection that has waited longest without a request; return whether one did."""
    waiting = [each for each in connections if each.waits_since is not None]
    if not waiting:
        return False
    min(waiting, key=lambda each: each.waits_since or 0.0).drop()
    return True
