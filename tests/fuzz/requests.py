"""Hostile requests to the dashboard: its pages and calls, and raw bytes to its protocol."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import uvicorn
from starlette.testclient import TestClient
from uvicorn.server import ServerState

from jobclaim.dashboard.connections import BoundedProtocol
from tests.fuzz.draw import Draw
from tests.fuzz.faces import look
from tests.fuzz.world import World

PATHS = (
    "/", "/jobs", "/jobs/cancel", "/job", "/job/edit", "/submit", "/dead", "/dead/act", "/dead/operation",
    "/queues", "/workers",
    "/schedules", "/reconcile",
    "/metrics", "/healthz", "/static/app.css", "/api/v1/jobs", "/api/v1/job", "/api/v1/dead", "/api/v1/audit",
    "/audit", "/tasks", "/task", "/nothing",
)  # fmt: skip
FORMS = (
    "/act",
    "/resume",
    "/drain",
    "/dead/act/start",
    "/jobs/cancel/start",
    "/submit/start",
    "/job/edit/start",
    "/dead/operation/stop",
    "/api/v1/act",
    "/api/v1/resume",
    "/api/v1/drain",
)
FIELDS = (
    "id",
    "verb",
    "status",
    "queue",
    "task",
    "cursor",
    "limit",
    "rate",
    "until",
    "since",
    "state",
    "kind",
    "key",
    "name",
    "payload",
    "reason",
)
HEADERS = (
    "host",
    "origin",
    "cookie",
    "authorization",
    "x-forwarded-for",
    "content-length",
    "transfer-encoding",
    "accept",
)
LONGEST = 60_000
"""Characters of an address that the client still sends."""
RAW = (
    b"GET /jobs?status=FAILED HTTP/1.1\r\nHost: 127.0.0.1:8484\r\n\r\n",
    (
        b"POST /act HTTP/1.1\r\nHost: 127.0.0.1:8484\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 9\r\n\r\nverb=none"
    ),
    b"POST /act HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nverb=\r\n0\r\n\r\n",
    b"GET /healthz HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
)


def one(world: World, draw: Draw, browser: TestClient) -> str:
    """Make one hostile request through the app."""
    random = draw.random
    fields = [(random.choice(FIELDS), draw.text()) for _ in range(random.randrange(5))]
    encoded = urlencode(fields, errors="surrogatepass")
    headers = {}
    if random.random() < 0.2:
        headers[random.choice(HEADERS)] = "".join(letter for letter in draw.text() if " " <= letter <= "~")
    if random.random() < 0.5:
        path = f"{random.choice(PATHS)}?{encoded}"[:LONGEST]
        return look(browser.get(path, headers=headers), path)
    path = random.choice(FORMS)
    headers.setdefault("content-type", "application/x-www-form-urlencoded")
    return look(browser.post(path, content=encoded.encode(), headers=headers), f"{path} {encoded}")


class Transport(asyncio.Transport):
    """A connection without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1) if name in ("peername", "sockname") else default

    def pause_reading(self) -> None:
        """Nothing reads."""

    def resume_reading(self) -> None:
        """Nothing reads."""


async def raw(world: World, draw: Draw) -> str:
    """Send hostile bytes in hostile pieces to the protocol."""
    config = uvicorn.Config(world.dashboard, http=BoundedProtocol, ws="none", log_config=None, lifespan="off")
    config.load()
    protocol, transport = BoundedProtocol(config, ServerState(), {}), Transport()
    sent = b"".join(draw.broken(draw.random.choice(RAW)) for _ in range(draw.random.randrange(1, 3)))
    protocol.connection_made(transport)
    at = 0
    while at < len(sent) and not transport.closed:
        size = draw.random.randrange(1, 200)
        protocol.data_received(sent[at : at + size])
        at += size
        await asyncio.sleep(0)
    tasks = list(protocol.tasks)
    protocol.connection_lost(None)
    if tasks:
        await asyncio.wait(tasks, timeout=20)
    if b"HTTP/1.1 500" in transport.written:
        raise AssertionError(f"500 for {sent!r}")
    return repr(sent[:300])
