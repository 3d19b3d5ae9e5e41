"""One request to an ASGI app, byte for byte: nothing tidies up paths or headers on the way, as HTTP clients do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

LOCAL = ("127.0.0.1", 40_000)


@dataclass(frozen=True)
class Answer:
    """What came back; header names are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


def ask(
    app: Any,
    method: str = "GET",
    target: str = "/",
    headers: Iterable[tuple[str, str]] = (),
    *,
    pieces: Sequence[bytes] = (b"",),
    client: tuple[str, int] | None = LOCAL,
    root_path: str = "",
    http_version: str = "1.1",
) -> Answer:
    """Send a request whose body comes in pieces; ``target`` is path and query as they stand in the request line."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": http_version,
        "scheme": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": root_path,
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": client,
        "server": ("127.0.0.1", 8000),
    }
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if waiting:
        waiting[-1]["more_body"] = False
    sent: list[Any] = []

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        return await asyncio.Future()  # nothing more ever comes

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start = next(message for message in sent if message["type"] == "http.response.start")
    body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return Answer(start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body)
