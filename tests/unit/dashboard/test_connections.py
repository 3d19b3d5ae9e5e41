"""The dashboard's own server on a socket: nobody holds all of its connections, and health answers always."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
import uvicorn

from jobclaim.dashboard import connections
from jobclaim.dashboard.connections import BoundedProtocol
from jobclaim.dashboard.security.asgi import HEALTH, Receive, Scope, Send
from jobclaim.dashboard.security.headers import HeaderGuard
from jobclaim.dashboard.security.limits import FormGuard, LimitGuard

MOST, MINE, RESERVE = 6, 4, 2
WAIT = 30.0
"""Longest wait for what must come."""


class Held:
    """An app that answers when it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/held":
            await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"ok\n"})


class Site:
    """A server on a free port, with short times and few connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._open: list[socket.socket] = []

    def connect(self, data: bytes = b"") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)
        self._open.append(made)
        if data:
            made.sendall(data)
        return made

    def ask(self, path: str, *, more: bytes = b"") -> int:
        """Ask once; give the status, or 0 where the connection is closed without an answer."""
        made = self.connect(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode() + more)
        return status_of(read(made))

    def close(self) -> None:
        for each in self._open:
            each.close()


def read(made: socket.socket) -> bytes:
    """Read to the end of the connection; what a reset leaves counts as its end."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while part := made.recv(4096):
            got += part
    return got


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name, value in {"MOST": MOST, "PER_CLIENT": MINE, "RESERVE": RESERVE}.items():
        monkeypatch.setattr(connections, name, value)
    with listening() as made:
        yield made


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1.0)
    with listening() as made:
        yield made


@contextlib.contextmanager
def listening() -> Iterator[Site]:
    held: list[Any] = []

    def factory() -> Any:
        held.append(Held())
        return HeaderGuard(LimitGuard(FormGuard(held[0])))

    config = uvicorn.Config(
        factory, factory=True, http=BoundedProtocol, ws="none", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        made = Site(listener.getsockname()[1])
        try:
            assert made.ask("/") == 200
            yield made
        finally:
            made.close()
            server.should_exit = True
            thread.join(WAIT)


HALF: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n"


def test_half_open_connections_shut_nobody_out(site: Site) -> None:
    for _ in range(50):
        site.connect(HALF)
    assert [site.ask("/") for _ in range(3)] == [200] * 3
    assert site.ask(HEALTH) == 200


def test_health_answers_where_every_connection_has_a_request(site: Site) -> None:
    for _ in range(MINE):
        site.connect(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
    assert site.ask("/") == 503
    assert site.ask(HEALTH) == 200


def test_a_connection_without_a_head_is_closed_in_time(hasty: Site) -> None:
    assert read(hasty.connect()) == b""
    assert read(hasty.connect(HALF)) == b""


def test_a_second_head_on_a_connection_has_its_time_too(hasty: Site) -> None:
    made = hasty.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + HALF)
    assert read(made).count(b"HTTP/1.1 200") == 1


def test_a_request_that_takes_too_long_is_closed(hasty: Site) -> None:
    assert read(hasty.connect(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")) == b""
    assert read(hasty.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na")) == b""


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /a/../b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/x\r\nContent-Length: 1\r\n\r\n",
        b"GARBAGE\r\n\r\n",
    ],
)
def test_a_refused_request_ends_its_connection(site: Site, request_: bytes) -> None:
    answer = read(site.connect(request_ + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert 400 <= status_of(answer) < 500
    assert answer.count(b"HTTP/1.1 ") == 1, "what follows is not read as a request"
    assert b"connection: close" in answer.lower()


def test_a_head_without_end_is_refused(site: Site) -> None:
    answer = read(site.connect(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * connections.LONGEST_HEAD * 3))
    assert status_of(answer) in (0, 400, 431)


def test_a_good_connection_is_kept(site: Site) -> None:
    made = site.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert read(made).count(b"HTTP/1.1 200") == 2
