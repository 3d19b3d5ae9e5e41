"""A line to a server on loopback whose answers take some time: ``python -m bench.peers.line PORT SERVER``.

Reads the time in milliseconds from standard input, a number a line, 0 at first.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from bench.stub import ROOT
from tests.support.endpoints import free_port
from tests.support.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is open: the port to connect to, and the process between."""

    port: int
    process: subprocess.Popen[bytes]

    def delay(self, milliseconds: float) -> None:
        """Delay each answer from now on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{milliseconds}\n".encode())
        self.process.stdin.flush()


@contextmanager
def delayed_line(server: int) -> Iterator[Line]:
    """Open a line to a port of loopback until the block ends."""
    port = free_port()
    argv = [sys.executable, "-m", "bench.peers.line", str(port), str(server)]
    process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE)
    try:
        wait_until(lambda: is_open(port), 20, "the line is open")
        yield Line(port, process)
    finally:
        process.terminate()
        process.wait(10)


def is_open(port: int) -> bool:
    """Return whether a port of loopback accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class _Answers:
    """Copies the bytes of one connection; those of the server are delayed."""

    seconds = 0.0

    async def connect(self, server: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        with suppress(OSError):
            answers, questions = await asyncio.open_connection("127.0.0.1", server)
            await asyncio.gather(self._copy(reader, questions, delayed=False), self._copy(answers, writer))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, delayed: bool = True) -> None:
        loop = asyncio.get_running_loop()
        while data := await source.read(65536):
            if delayed and self.seconds:
                loop.call_later(self.seconds, sink.write, data)
            else:
                sink.write(data)
        sink.close()


async def _serve(port: int, server: int) -> None:
    answers: Any = _Answers()

    loop = asyncio.get_running_loop()

    def read() -> None:
        line = os.read(sys.stdin.fileno(), 100).splitlines()
        if line:
            answers.seconds = float(line[-1]) / 1000
        else:  # end of file: the process that opened the line has ended
            loop.stop()

    loop.add_reader(sys.stdin.fileno(), read)
    async with await asyncio.start_server(lambda r, w: answers.connect(server, r, w), "127.0.0.1", port) as listening:
        await listening.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
