"""Where a peer's messages wait: held back while they are submitted, then let through and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from bench.peers.catalog import Peer, queue_of
from bench.peers.line import Line, delayed_line
from bench.peers.servers import postgres_server, redis_server
from bench.stub import RunningStub, running_stub
from tests.support.processes import ManagedProcess

NO_LATENCY_MS: Final = {"sqs": 0.0, "dynamodb": 0.0, "server": 0.0}
MESSAGE_ENDS: Final = ("DeleteMessage", "DeleteMessageBatch")
Meter = dict[str, Any]


class Broker(Protocol):
    """What the measurement asks of a peer's broker.

    Attributes
    ----------
    url, redis : str
        What the peer connects to, and the Redis that it needs beside SQS; empty if it needs none.
    step_seconds : float
        How often to look whether all jobs have ended: seldom where the server keeps the time of the last end, because
        looking takes CPU from the peer.
    """

    url: str
    redis: str
    step_seconds: float

    def reset(self, *, hold: bool = False, worker: ManagedProcess | None = None) -> None:
        """Count from zero, without latency; hold messages back from the worker."""

    def release(self, latency_ms: Mapping[str, float]) -> float:
        """Let messages through, with this latency; return the time."""

    def meter(self, peer: Peer, jobs: int) -> Meter | None:
        """Return requests, units and the time of the last end, if all jobs have ended."""


class OnStub:
    """SQS and DynamoDB on the metering stub, and, for a peer that needs it, a Redis behind a line."""

    step_seconds = 0.1

    def __init__(self, stub: RunningStub, line: Line | None = None) -> None:
        self._stub, self.url, self._line = stub, stub.url, line
        self.redis = f"redis://127.0.0.1:{line.port}/0" if line else ""

    def reset(self, *, hold: bool = False, worker: ManagedProcess | None = None) -> None:
        """Reset the stub's meter."""
        self._delay(NO_LATENCY_MS)
        self._stub.control(latency_ms=NO_LATENCY_MS, hold=hold, reset=True)

    def release(self, latency_ms: Mapping[str, float]) -> float:
        """Let messages through."""
        self._delay(latency_ms)
        return float(self._stub.control(hold=False, latency_ms=latency_ms)["now"])

    def meter(self, peer: Peer, jobs: int) -> Meter | None:
        """Read the stub's meter; jobs have ended with their messages and the peer's own last requests."""
        meter = self._stub.control()
        empty = all(count == "0" for count in meter["depth"][queue_of(peer)[1]].values())
        if not empty or any(meter["requests"].get(name, 0) < times * jobs for name, times in peer.ends.items()):
            return None
        ends = [at for name, at in meter["last_at"].items() if name in (*MESSAGE_ENDS, *peer.ends)]
        return {**meter, "last": max(ends, default=0.0)}

    def _delay(self, latency_ms: Mapping[str, float]) -> None:
        if self._line is not None:
            self._line.delay(latency_ms["server"])


@dataclass(slots=True)
class OnServer:
    """A queue in Redis or PostgreSQL, behind a line; what it is asked is not counted.

    Its worker is stopped while jobs are submitted, and the last end is when none is seen any more.
    """

    url: str
    line: Line
    left: Callable[[], int]
    worker: ManagedProcess | None = None
    redis = ""
    step_seconds = 0.02

    def reset(self, *, hold: bool = False, worker: ManagedProcess | None = None) -> None:
        """Stop the worker to hold messages back."""
        self.line.delay(0)
        self.worker = worker
        if hold and worker is not None:
            worker.pause()

    def release(self, latency_ms: Mapping[str, float]) -> float:
        """Continue the worker."""
        self.line.delay(latency_ms["server"])
        if self.worker is not None:
            self.worker.resume()
        return time.monotonic()

    def meter(self, peer: Peer, jobs: int) -> Meter | None:
        """Ask the server whether jobs are left."""
        return None if self.left() else {"requests": {}, "units": {}, "last": time.monotonic()}


@contextmanager
def running_broker(peer: Peer, certificate: Path) -> Iterator[Broker]:
    """Run a peer's broker, new and empty, until the block ends."""
    if peer.broker == "redis":
        with redis_server() as url, delayed_line(int(urlsplit(url).port or 0)) as line:
            yield OnServer(f"redis://127.0.0.1:{line.port}/0", line, _left_in_redis(url, queue_of(peer)[0]))
    elif peer.broker == "postgresql":
        with postgres_server() as port, delayed_line(port) as line, _postgres(port) as connection:
            url = f"postgresql://postgres@127.0.0.1:{line.port}/postgres"
            yield OnServer(url, line, lambda: connection.execute(peer.left).fetchone()[0])
    else:
        with running_stub(certificate if peer.tls else None) as stub, _redis_beside(peer) as line:
            yield OnStub(stub, line)


@contextmanager
def _redis_beside(peer: Peer) -> Iterator[Line | None]:
    if peer.beside != "Redis":
        yield None
        return
    with redis_server() as url, delayed_line(int(urlsplit(url).port or 0)) as line:
        yield line


def _left_in_redis(url: str, queue: str) -> Callable[[], int]:
    import redis

    client: Any = redis.Redis.from_url(url)
    return lambda: int(client.llen(queue) + client.hlen("unacked"))


@contextmanager
def _postgres(port: int) -> Iterator[Any]:
    import psycopg

    address: dict[str, Any] = {"host": "127.0.0.1", "port": port, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(**address, autocommit=True) as connection:
        yield connection
