"""Request limits: the head first and, after authentication, the form and the time to send it."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from jobclaim.dashboard.security.asgi import SAFE_METHODS, App, Headers, Message, Receive, Refusal, Scope, Send, refuse

MAX_PATH: Final = 4096
"""Characters; a job id has at most a quarter of this."""
MAX_QUERY: Final = 8192
MAX_FORM: Final = 65_536
"""Bytes; the largest form is a group's selection."""
MAX_FIELDS: Final = 2000
FORM: Final = "application/x-www-form-urlencoded"
SEND_SECONDS: Final = 10.0
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\\]")


class Gone(Exception):
    """The client has disconnected."""


def request_refusal(method: str, path: str, query: bytes, headers: Headers) -> Refusal | None:
    """Check a request's head before its body is read."""
    if method not in SAFE_METHODS and method != "POST":
        return Refusal(405, "method", "the dashboard allows GET, HEAD and POST only", (("allow", "GET, HEAD, POST"),))
    if len(path) > MAX_PATH or len(query) > MAX_QUERY:
        return Refusal(414, "length", f"a path has at most {MAX_PATH} characters, a query {MAX_QUERY}")
    if _CONTROL.search(path):
        return Refusal(400, "path", "the path contains control characters or backslashes")
    if ".." in path.split("/"):
        return Refusal(400, "path", "the path contains '..'")
    if method == "POST" and _media_type(headers) not in (FORM, ""):
        return Refusal(415, "form", f"a form must be sent as {FORM}")
    lengths = headers.all("content-length")
    if lengths and "transfer-encoding" in headers:
        return Refusal(400, "form", "the request has both Content-Length and Transfer-Encoding")
    if len(lengths) > 1 or any(not length.isascii() or not length.isdigit() for length in lengths):
        return Refusal(400, "form", "Content-Length is not a number")
    return _too_large() if lengths and int(lengths[0][:12]) > MAX_FORM else None


def _media_type(headers: Headers) -> str:
    return (headers.one("content-type") or "").partition(";")[0].strip().lower()


def _too_large() -> Refusal:
    return Refusal(413, "form", f"a form has at most {MAX_FORM} bytes; choose fewer jobs at a time")


async def form_of(receive: Receive) -> bytes | Refusal:
    """Read a body up to its limit, in any number of chunks.

    Raises
    ------
    Gone
        The client disconnected before the body was complete.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        body += message.get("body", b"")
        if len(body) > MAX_FORM:
            return _too_large()
        if not message.get("more_body"):
            break
    if body.count(b"&") >= MAX_FIELDS:
        return Refusal(413, "form", f"a form has at most {MAX_FIELDS} fields; choose fewer jobs at a time")
    return bytes(body)


class LimitGuard:
    """ASGI middleware that refuses requests with too large a head, and websockets."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        if scope["type"] == "http":
            path, query = scope["path"], scope.get("query_string", b"")
            refusal = request_refusal(scope["method"], path, query, Headers.of(scope))
            if refusal is not None:
                return await refuse(refusal, send)
        return await self._app(scope, receive, send)


class FormGuard:
    """ASGI middleware that reads a request's body, limited in size and time, before the app receives any of it.

    The innermost one: a request that is refused for another reason never makes us wait for its body.
    """

    def __init__(self, app: App, *, seconds: float = SEND_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            body = await asyncio.wait_for(form_of(receive), self._seconds)
        except TimeoutError:
            body = Refusal(408, "form", f"the request was not complete within {self._seconds:g} s")
        except Gone:
            return None
        if isinstance(body, Refusal):
            return await refuse(body, send)
        return await self._app(scope, _replay(body, receive), send)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a function that receives the body in one message, then the messages that follow it."""
    left = [body]

    async def receive_again() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return receive_again
