"""Security headers of every response, including refusals and errors: what a browser may do with a page."""

from __future__ import annotations

from typing import Final

from jobclaim.dashboard.security.asgi import App, Message, Receive, Scope, Send, path_of

CSP: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""No inline script or style: markup from a job's data would have no effect even if it were not escaped."""
ALWAYS: Final = (
    ("content-security-policy", CSP),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),  # `no-referrer` would make the Origin of our own forms `null`
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
)
UNREAD: Final = frozenset({400, 408, 411, 413, 414, 415, 417, 421, 431})
"""Statuses after which the rest of what a client sent may not be a request: the connection ends with the response."""
CLOSE: Final = (b"connection", b"close")
STATIC: Final = "/static/"


class HeaderGuard:
    """ASGI middleware that sets the headers, overriding the app's. The outermost one."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        # a stylesheet may be cached if it is revalidated each time; a page shows jobs and is never cached
        keeping = "no-cache" if path_of(scope).startswith(STATIC) else "no-store"
        ours = {name.encode(): value.encode() for name, value in (*ALWAYS, ("cache-control", keeping))}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [row for row in message.get("headers", ()) if row[0].lower() not in ours]
                closing = [CLOSE] if message["status"] in UNREAD and scope.get("http_version", "1.1") < "2" else []
                headers = [row for row in headers if not closing or row[0].lower() != CLOSE[0]]
                message = {**message, "headers": [*headers, *ours.items(), *closing]}
            await send(message)

        return await self._app(scope, receive, with_headers)
