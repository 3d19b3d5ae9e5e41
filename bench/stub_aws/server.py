"""The stub's server: ``python -m bench.stub_aws.server PORT [CERTIFICATE]``; ``POST /control`` sets it up.

Its answer is the meter. With a certificate, a PEM file with its key, it speaks TLS.
"""

from __future__ import annotations

import asyncio
import gc
import re
import ssl
import sys
import time
import traceback
import zlib
from collections import Counter
from typing import Any, Final

import orjson
import uvloop

from bench.stub_aws.queues import Queues
from bench.stub_aws.tables import AwsError, Table

_HEADERS: Final = re.compile(rb"\r\n(content-length|expect|x-amz-target):[ \t]*([^\r]*)", re.IGNORECASE)
"""The headers that are read, of a dozen that clients send."""
_RESPONSE: Final = (
    b"HTTP/1.1 %d X\r\nContent-Type: application/x-amz-json-1.0\r\nx-amz-crc32: %d\r\n"
    b"x-amzn-RequestId: stub\r\nContent-Length: %d\r\n\r\n%b"
)


class Stub:
    """Both services, their latencies and their meter."""

    def __init__(self, base_url: str) -> None:
        self.queues = Queues(base_url)
        self.tables: dict[str, Table] = {}
        self.requests: Counter[str] = Counter()
        self.latency = {"sqs": 0.0, "dynamodb": 0.0}
        self.last_at: dict[str, float] = {}

    def handle(self, target: str, request: dict[str, Any], connection: Connection) -> None:
        """Carry out one request."""
        service, operation = target.split(".", 1)
        name = "sqs" if service == "AmazonSQS" else "dynamodb"
        counted = f"{operation} {request['TableName']}" if "TableName" in request else operation
        self.requests[counted] += 1
        self.last_at[counted] = time.monotonic()
        try:
            if name == "sqs":
                self.queues.handle(operation, request, SqsReply(connection))
            else:
                connection.reply(name, 200, self._dynamodb(operation, request))
        except AwsError as error:
            connection.reply(name, 400, {"__type": f"com.amazonaws#{error.code}", "message": str(error), **error.more})

    def _dynamodb(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "CreateTable":
            self.tables[request["TableName"]] = Table(request)
            return {"TableDescription": _described(request)}
        if operation == "BatchGetItem":
            return {"Responses": {n: self._get_many(n, r) for n, r in request["RequestItems"].items()}}
        table = self.tables.get(request["TableName"])
        if table is None:
            raise AwsError("ResourceNotFoundException", f"table {request['TableName']} is not there")
        return _on_table(operation, table, request)

    def _get_many(self, name: str, request: dict[str, Any]) -> list[Any]:
        table = self.tables[name]
        found = (table.read(table.key_of(key), consistent=False) for key in request["Keys"])
        return [item for item in found if item is not None]

    def control(self, command: dict[str, Any]) -> dict[str, Any]:
        """Change latencies (milliseconds), reset counts, hold messages back; return the meter."""
        for name, milliseconds in command.get("latency_ms", {}).items():
            self.latency[name] = milliseconds / 1000
        if command.get("reset"):
            self.requests.clear()
            self.last_at.clear()
            for table in self.tables.values():
                table.units.clear()
        for queue in self.queues.by_name.values():
            queue.held_back = command.get("hold", queue.held_back)
            queue.wake()
        return {
            "requests": self.requests,
            "units": {name: table.units for name, table in self.tables.items()},
            "last_at": self.last_at,
            "now": time.monotonic(),
            "depth": {name: queue.depth() for name, queue in self.queues.by_name.items()},
        }


def _on_table(operation: str, table: Table, request: dict[str, Any]) -> dict[str, Any]:
    if operation in ("PutItem", "UpdateItem", "DeleteItem"):
        return _write(operation, table, request)
    if operation == "GetItem":
        found = table.read(table.key_of(request["Key"]), consistent=bool(request.get("ConsistentRead")))
        return {"Item": found} if found else {}
    if operation == "Query":
        return table.query(request)
    if operation == "Scan":
        return table.scan()
    if operation == "DescribeTable":
        return {"Table": _described(table.description)}
    if operation == "DescribeTimeToLive":
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
    if operation == "UpdateTimeToLive":
        return {"TimeToLiveSpecification": request["TimeToLiveSpecification"]}
    raise AwsError("UnknownOperationException", f"this stub knows no {operation}")


def _write(operation: str, table: Table, request: dict[str, Any]) -> dict[str, Any]:
    key = table.key_of(request["Item"] if operation == "PutItem" else request["Key"])
    if operation == "UpdateItem":
        new: Any = table.updated(request, key)
        old = table.write({}, new, key)
    else:
        new = request["Item"] if operation == "PutItem" else None
        old = table.write(request, new, key)
    wanted = {"ALL_NEW": new, "ALL_OLD": old}.get(request.get("ReturnValues", "NONE"))
    return {"Attributes": wanted} if wanted else {}


def _described(table: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {
        name: table[name] for name in ("TableName", "KeySchema", "AttributeDefinitions") if name in table
    }
    indexes = [{**index, "IndexStatus": "ACTIVE"} for index in table.get("GlobalSecondaryIndexes", ())]
    billing = {"BillingModeSummary": {"BillingMode": table.get("BillingMode", "PROVISIONED")}}
    return {**kept, **billing, "TableStatus": "ACTIVE", "GlobalSecondaryIndexes": indexes}


class SqsReply:
    """The reply channel of an SQS caller, which may have disconnected when a long poll is answered."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_open = connection.is_open

    def __call__(self, answer: dict[str, Any]) -> None:
        self._connection.reply("sqs", 200, answer)


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection, one request at a time."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._busy = False

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect data until a request is complete."""
        self._buffer += data
        if not self._busy:
            self._step()

    def _step(self) -> None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        headers = {name.lower(): value for name, value in _HEADERS.findall(head)}
        length = int(headers.get(b"content-length", 0))
        if len(rest) < length:
            if headers.get(b"expect") == b"100-continue" and not rest:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self._buffer, self._busy = rest[length:], True
        try:
            request = orjson.loads(rest[:length] or b"{}")
        except orjson.JSONDecodeError:
            self._send(400, {"__type": "SerializationException", "message": rest[:100].decode(errors="replace")})
            return
        self._dispatch(head.split(b" ", 2)[1], headers, request)

    def _dispatch(self, path: bytes, headers: dict[bytes, bytes], request: dict[str, Any]) -> None:
        if path == b"/control":
            self._send(200, self._stub.control(request))
            return
        try:
            self._stub.handle(headers[b"x-amz-target"].decode(), request, self)
        except Exception as error:  # noqa: BLE001 - a bug of the stub must be visible, not hang the caller
            traceback.print_exc()
            self._send(500, {"__type": "InternalFailure", "message": repr(error)})

    def is_open(self) -> bool:
        """Return whether the caller is still connected."""
        return not self._transport.is_closing()

    def reply(self, service: str, status: int, answer: dict[str, Any]) -> None:
        """Respond to the current request, after the service's latency."""
        wait = self._stub.latency[service]
        if wait:
            self._loop.call_later(wait, self._send, status, answer)
        else:
            self._send(status, answer)

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        if not self.is_open():
            return
        body = orjson.dumps(answer)
        self._transport.write(_RESPONSE % (status, zlib.crc32(body), len(body), body))
        self._busy = False
        if self._buffer:
            self._loop.call_soon(self._step)


async def serve(port: int, certificate: str | None = None) -> None:
    """Serve on loopback until the process ends."""
    gc.disable()  # requests leave no reference cycles behind, and looking for some in all the items costs CPU
    loop = asyncio.get_running_loop()
    stub = Stub(f"{'https' if certificate else 'http'}://127.0.0.1:{port}")
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", port, ssl=context)
    async with server:
        while True:
            await asyncio.sleep(0.25)
            for queue in stub.queues.by_name.values():
                queue.tick()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), *sys.argv[2:]))
