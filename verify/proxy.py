"""A small HTTP proxy in front of SQS or DynamoDB that fails on demand, and counts requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from jobclaim.verify import forging
from jobclaim.verify.faults import SENDS, Fault

LOOPBACK: Final = "127.0.0.1"
TABLE_NAME: Final = re.compile(rb'"TableName": ?"([^"]+)"')
REMEMBERED: Final = 500
"""Messages that may be sent once more, long after."""
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class FaultyProxy:
    """The proxy; its event loop runs in a thread of its own.

    Attributes
    ----------
    fault : Fault or None
        What happens to requests from now on.
    choose_fault : callable
        Returns the fault for a request's operation; called for each request while `fault` is ``None``.
    discard_url : str
        URL of the queue that receives messages which a fault discards.
    requests, failed : Counter
        Requests that were passed on, by operation; requests that a fault hit, by fault.
    by_table : Counter
        Requests by operation and table.
    outstanding : int
        Messages that ReceiveMessage requests in progress may return.
    most_outstanding : int
    """

    def __init__(self, upstream: str) -> None:
        target = urlsplit(upstream)
        self._upstream = (target.hostname, target.port)
        self._port_kept = bound_socket()  # nobody else gets the port while the proxy refuses connections
        self.port = int(self._port_kept.getsockname()[1])
        self.fault: Fault | None = None
        self.choose_fault: Callable[[str], Fault | None] = lambda _operation: None
        self.discard_url = ""
        self.requests: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.by_table: Counter[tuple[str, str]] = Counter()
        self._sent: deque[tuple[float, dict[str, Any]]] = deque(maxlen=REMEMBERED)
        self.outstanding = self.most_outstanding = 0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty proxy", daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self.accept()

    def stop(self) -> None:
        """End all connections and the thread."""
        self.refuse()
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._port_kept.close()

    def accept(self) -> None:
        """Accept connections (again)."""
        self._call(self._accept())

    def refuse(self) -> None:
        """Cut every connection and refuse new ones, like a host whose process has ended."""
        self._call(self._refuse())

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _accept(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port, reuse_port=True)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._clients):
            _reset(writer)

    async def _end(self) -> None:
        """Cancel the tasks of open connections, before their event loop is closed."""
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):  # one side closed its connection
                while True:
                    head, body = await _read_message(reader)
                    await self._forward(head, body, reader, writer, upstream_reader, upstream_writer)
        finally:
            self._clients.discard(writer)
            for end in (writer, upstream_writer):
                end.close()

    async def _forward(
        self,
        head: bytes,
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream_reader: asyncio.StreamReader,
        upstream_writer: asyncio.StreamWriter,
    ) -> None:
        operation = _header(head, b"x-amz-target").rpartition(b".")[2].decode()
        fault = self.fault or self.choose_fault(operation)
        if fault is not None:
            if fault.adds is None:
                self.failed[fault.name] += 1
            if not (fault.response_lost or fault.is_of_messages):
                await _fail(fault, reader, writer)
                return
        self.requests[operation] += 1
        if (table := TABLE_NAME.search(body[:1_000])) is not None:
            self.by_table[operation, table[1].decode()] += 1
        with self._counting_receives(operation, body):
            for sent in self._as_sent(fault, operation, head, body):
                upstream_writer.write(sent)
                answer_head, answer = await _read_message(upstream_reader)
        if fault is not None and fault.response_lost:
            _reset(writer)
            raise ConnectionResetError
        writer.write(answer_head + answer)
        await writer.drain()

    def _as_sent(self, fault: Fault | None, operation: str, head: bytes, body: bytes) -> list[bytes]:
        """Return the requests to make instead of one; the client gets the response to the last."""
        if operation not in SENDS:
            return [head + body]
        if operation == "SendMessage":
            self._remember(json.loads(body))
        if fault is None:
            return [head + body]
        if fault.adds is not None and operation == "SendMessage":
            return [*self._added(fault, fault.adds, head, body), head + body]
        if fault.discards:
            return [_with_body(head, {**json.loads(body), "QueueUrl": self.discard_url})]
        if fault.copied_within:
            return [_with_body(head, _delayed(json.loads(body), random.randint(0, fault.copied_within))), head + body]
        return [head + body]

    def _remember(self, request: dict[str, Any]) -> None:
        """Remember a message and the earliest time at which it can arrive: a copy of an old message must not come
        before that.
        """
        self._sent.append((time.monotonic() + int(request.get("DelaySeconds") or 0), request))

    def _added(self, fault: Fault, adds: forging.Forge, head: bytes, body: bytes) -> list[bytes]:
        arrived = [request for due, request in self._sent if due <= time.monotonic()]
        made = adds(json.loads(body), random.choice(arrived) if arrived else None)
        self.failed[fault.name] += made is not None
        return [] if made is None else [_with_body(head, made)]

    @contextmanager
    def _counting_receives(self, operation: str, body: bytes) -> Iterator[None]:
        count = json.loads(body).get("MaxNumberOfMessages", 1) if operation == "ReceiveMessage" else 0
        self.outstanding += count
        self.most_outstanding = max(self.most_outstanding, self.outstanding)
        try:
            yield
        finally:
            self.outstanding -= count


@contextmanager
def proxied(url: str) -> Iterator[tuple[FaultyProxy, str]]:
    """Put a proxy in front of a server until the block ends; yields the proxy and the URL that leads through it."""
    proxy = FaultyProxy(url)
    proxy.start()
    try:
        yield proxy, f"http://{LOOPBACK}:{proxy.port}"
    finally:
        proxy.stop()


def bound_socket() -> socket.socket:
    """Bind a socket to a free port of loopback, without listening: others of this user may listen on it beside."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((LOOPBACK, 0))
    return made


def _delayed(request: dict[str, Any], seconds: int) -> dict[str, Any]:
    """Return the request with its messages delayed by some more seconds."""
    parts = request.get("Entries", [request])
    later = [{**part, "DelaySeconds": min(900, int(part.get("DelaySeconds", 0)) + seconds)} for part in parts]
    return {**request, "Entries": later} if "Entries" in request else later[0]


def _with_body(head: bytes, request: dict[str, Any]) -> bytes:
    body = json.dumps(request).encode()
    lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


async def _fail(fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if fault.resets:
        _reset(writer)
        raise ConnectionResetError
    if fault.silent:
        await reader.read()  # until the client gives up
        raise ConnectionResetError
    head = f"HTTP/1.1 {fault.status} X\r\nContent-Type: text/html\r\nContent-Length: {len(fault.body)}\r\n\r\n"
    writer.write(head.encode() + fault.body)
    await writer.drain()


async def _read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    if b"chunked" in _header(head, b"transfer-encoding"):
        return head, await _read_chunks(reader)
    return head, await reader.readexactly(int(_header(head, b"content-length") or 0))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    """Read a chunked body unchanged, with the lengths of its chunks."""
    parts = []
    while True:
        line = await reader.readline()
        parts += [line, await reader.readexactly(int(line, 16) + 2)]
        if int(line, 16) == 0:
            return b"".join(parts)


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()
