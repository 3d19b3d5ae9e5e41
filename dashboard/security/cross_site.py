"""Protection against cross-site requests: another site cannot make a user's browser act, or read, here.

::

    Sec-Fetch-Site     same-origin, none     served
                       anything else         a plain navigation to a page is served (a link in a chat); all else refused
                       absent                a request that changes something needs an Origin that is our own Host

Browsers set these headers themselves and do not let pages set them, so forms need no hidden token.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from jobclaim.dashboard.security.asgi import (
    SAFE_METHODS,
    App,
    Headers,
    Receive,
    Refusal,
    Scope,
    Send,
    refuse,
    wait_token_of,
)

OURS: Final = frozenset({"same-origin", "none"})
_TEXT: Final = "another site sent this request in your browser, so it was refused; open the dashboard and act there"
_UNSIGNED: Final = (
    "the request has no origin; a program that acts must send an Origin header with the dashboard's own address"
)


def cross_site_refusal(method: str, headers: Headers) -> Refusal | None:
    """Check a request's origin; return a refusal or ``None``."""
    if "sec-fetch-site" in headers:
        if headers.one("sec-fetch-site") in OURS or _is_a_visit(method, headers):
            return None
        return Refusal(403, "cross-site", _TEXT)
    if method in SAFE_METHODS:
        return None
    if "origin" not in headers:
        return Refusal(403, "cross-site", _UNSIGNED)
    origin, host = headers.one("origin"), headers.one("host")
    if origin is None or host is None or _authority(origin) != host.lower():
        return Refusal(403, "cross-site", _TEXT)
    return None


def _is_a_visit(method: str, headers: Headers) -> bool:
    """Return whether a user follows a link: the page fills the window, and no other page can read it."""
    return (
        method in SAFE_METHODS
        and headers.one("sec-fetch-mode") == "navigate"
        and headers.one("sec-fetch-dest") == "document"
    )


def _authority(origin: str) -> str | None:
    """Return host and port of an origin; the scheme is left out, because a load balancer may have changed it."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") and not parts.path else None


class CrossSiteGuard:
    """ASGI middleware that refuses requests from other sites."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not wait_token_of(scope):
            refusal = cross_site_refusal(scope["method"], Headers.of(scope))
            if refusal is not None:
                return await refuse(refusal, send)
        return await self._app(scope, receive, send)
