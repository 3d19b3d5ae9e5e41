"""Connections on which one thread makes several requests at the same time.

Requests that are made one by one, on as many threads, cost twice the CPU time: each wait hands the interpreter to
another thread and the processor to another program.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pycurl

from jobclaim.jobs.storage.inherited import leave_to_parent

LONGEST_WAIT_SECONDS: Final = 0.1
PAUSE_SECONDS: Final = 0.003
"""How long to collect more answers once there is one: reading each by itself would cost a fifth more CPU time."""

Request = tuple[list[str], bytes]
"""Header lines and body of a POST."""
Answer = tuple[int, bytes, int]
"""Status, body, and how often libcurl had repeated the request."""
Tried = Answer | Exception
"""What came of a request: the answer, or an error."""


def connection(options: Mapping[int, Any]) -> Any:
    """Return a connection of libcurl, which opens it with its first request."""
    curl = leave_to_parent(pycurl.Curl())
    for option, value in options.items():
        curl.setopt(option, value)
    return curl


def prepare(curl: Any, request: Request, longest_ms: int) -> None:
    """Give a connection its next request, and how long that may take: its last one may have had less time."""
    headers, body = request
    curl.setopt(pycurl.HTTPHEADER, [*headers, "Expect:"])
    curl.setopt(pycurl.POSTFIELDS, body)
    curl.setopt(pycurl.TIMEOUT_MS, longest_ms)


def answer_of(curl: Any, body: bytes, request: Request) -> Answer:
    """Return the answer that a connection has received.

    libcurl repeats a request by itself when a kept connection ends without an answer, after which the server may have
    done what it asks for. The bytes that were sent tell, those of a request that was cut off aside.
    """
    headers, sent = request
    times = curl.getinfo(pycurl.REQUEST_SIZE) // (sum(map(len, headers)) + len(sent))
    return curl.getinfo(pycurl.RESPONSE_CODE), body, max(0, times - 1)


class Bundle:
    """Keeps a connection open for each of the most requests that were made at once.

    Parameters
    ----------
    options : mapping
        libcurl's options of each connection.
    """

    def __init__(self, options: Mapping[int, Any]) -> None:
        self._options = options
        self._multi = leave_to_parent(pycurl.CurlMulti())
        self._lines: list[tuple[Any, list[bytes]]] = []
        self._used: list[tuple[Any, list[bytes], Request]] = []

    def start(self, requests: Iterable[Request], longest_ms: int) -> None:
        """Begin requests at the same time; the caller may do something else until it calls `finish`."""
        for number, request in enumerate(requests):
            curl, parts = self._line(number)
            parts.clear()
            prepare(curl, request, longest_ms)
            self._multi.add_handle(curl)
            self._used.append((curl, parts, request))
        self._multi.perform()

    def finish(self) -> list[Tried]:
        """Return what came of the requests that were begun, when all are answered or have failed."""
        used, self._used = self._used, []
        try:
            self._run()
            failed = {curl: pycurl.error(number, text) for curl, number, text in self._multi.info_read()[2]}
            return [failed.get(curl) or answer_of(curl, b"".join(parts), request) for curl, parts, request in used]
        finally:
            for curl, *_ in used:
                self._multi.remove_handle(curl)

    def _line(self, number: int) -> tuple[Any, list[bytes]]:
        if number == len(self._lines):
            curl, parts = connection(self._options), list[bytes]()
            curl.setopt(pycurl.WRITEFUNCTION, parts.append)
            self._lines.append((curl, parts))
        return self._lines[number]

    def _run(self) -> None:
        while self._multi.perform()[1]:
            self._multi.select(LONGEST_WAIT_SECONDS)  # returns at once for sockets whose numbers are too high for it
            time.sleep(PAUSE_SECONDS)
