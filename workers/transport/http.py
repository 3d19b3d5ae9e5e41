"""ReceiveMessage in the worker's event loop: every request ends, and every end is an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep
from typing import Any, Final

import pycurl
from kombu.asynchronous.http.base import Request
from kombu.asynchronous.http.curl import CurlClient
from vine import promise

from jobclaim.jobs.storage.inherited import leave_to_parent
from jobclaim.jobs.storage.signing import SignedRequests

MARGIN_SECONDS: Final = 5
"""How much longer than the poll itself an answer may take before the connection counts as broken."""
OK: Final = 200
MAX_HANDLES: Final = 64
"""Concurrent requests; kombu's 10 would make the eleventh queue of a worker wait for the others."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A failed request: its HTTP status (599: no answer) and what is known about the cause."""

    status: int
    reason: str


Answer = dict[str, Any] | Failed


class PollConnection:
    """Makes polls. kombu's own connection raises into the event loop on an error status, and waits for silent peers
    forever.

    Parameters
    ----------
    requests : SignedRequests
    web : PatientClient
        Client whose requests end in the event loop.
    """

    def __init__(self, requests: SignedRequests, web: PatientClient) -> None:
        self._requests = requests
        self._web = web

    def poll(self, queue_url: str, count: int, wait: int, done: Callable[[Answer], None]) -> None:
        """Request messages; ``done`` is called once, with the messages or with the failure.

        Raises
        ------
        Exception
            The request could not be made, for example without credentials. ``done`` is not called.
        """
        known = self._requests.access
        asked = {
            "QueueUrl": queue_url,
            "MaxNumberOfMessages": count,
            "WaitTimeSeconds": wait,
            "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
        }
        body = json.dumps(asked).encode()
        lines = self._requests.headers("ReceiveMessage", body)
        self._web.add_request(
            Request(
                known.url,
                method="POST",
                headers=dict(line.split(": ", 1) for line in lines),
                body=body,
                on_ready=promise(lambda response: done(_answer(response))),
                on_prepare=partial(_bound, known.connect_seconds, wait + MARGIN_SECONDS),
                ca_certs=known.certificates or None,
                validate_cert=bool(known.certificates),
            )
        )


def _bound(connect_seconds: float, seconds: float, curl: Any) -> None:
    """Set the timeouts of a curl handle, so that each request ends."""
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(1000 * connect_seconds))
    curl.setopt(pycurl.TIMEOUT_MS, int(1000 * seconds))
    curl.setopt(pycurl.NOSIGNAL, 1)


def _answer(response: Any) -> Answer:
    body = response.body or b""
    if response.code != OK:
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
        return Failed(response.code, " ".join(f"HTTP {response.code} {response.error or ''} {text}".split())[:300])
    try:
        answer = json.loads(body)
    except ValueError as error:  # such as a page of a proxy
        return Failed(response.code, f"unreadable answer: {type(error).__name__}")
    return answer if isinstance(answer, dict) else Failed(response.code, "unreadable answer")


class PatientClient(CurlClient):
    """A curl client that waits for its last answers: an aborted poll would leave a message hidden for hours."""

    leaving = False
    _timer: Any = None  # curl asks for one while `__init__` runs

    def __init__(self, hub: Any, patience_seconds: float) -> None:
        super().__init__(hub, max_clients=MAX_HANDLES)
        for handle in (self._multi, *self._curls):
            leave_to_parent(handle)
        self._patience = patience_seconds
        self._thread: threading.Thread | None = None
        self._ended = False
        # kombu 5.7 does so itself; never removed, because the hub iterates over its callbacks while it calls them
        hub.on_close.add(self._end_with_the_loop)

    def under_way(self) -> int:
        """Count requests without an answer."""
        return len(self._curls) - len(self._free_list)

    def send_now(self) -> None:
        """Send added requests now: curl would use a timer, and this round's timers have run."""
        self._timeout_check()

    def retire(self) -> None:
        """Leave the event loop, whose thread now waits for the pool; wait for the answers in a thread."""
        self._leave_the_loop()
        if self._thread is None and self.under_way():
            self._thread = threading.Thread(target=self._await_polls, name="jobclaim last polls", daemon=True)
            self._thread.start()

    def abandon_polls(self) -> None:
        """Do not wait for answers; for a cold shutdown."""
        self._patience = 0.0

    def close(self) -> None:
        """Close after the last answer; called when the event loop closes, at the end or before a reconnect."""
        if self._ended:
            return
        self._ended = True
        self.retire()
        if self._thread is not None:
            self._thread.join(self._patience + 1)
        super().close()

    def add_request(self, request: Any) -> Any:
        """Start a request; do nothing after `retire`."""
        return request if self.leaving else super().add_request(request)

    def _end_with_the_loop(self, hub: Any) -> None:
        self.close()

    def _await_polls(self) -> None:
        started = monotonic()
        while self.under_way() and monotonic() - started < self._patience:
            if self._multi.select(0.1) < 0:
                sleep(0.02)  # nothing to wait on while a name is being resolved
            with suppress(pycurl.error):
                self._multi.socket_all()
            self._take_answers()

    def _leave_the_loop(self) -> None:
        if not self.leaving:
            self.leaving = True
            self._timeout_check_tref.cancel()
            self._pending.clear()
            self._pop_from_hub()

    def _take_answers(self) -> None:
        _, succeeded, failed = self._multi.info_read()
        for curl in succeeded:
            self._process(curl)
        for curl, number, reason in failed:
            self._process(curl, number, reason)

    def _set_timeout(self, milliseconds: int) -> None:
        """Keep the one timer that curl asks for; below 0 it asks for none.

        kombu sets one more each time and takes milliseconds for seconds: a busy worker would have 10,000s, for hours.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if milliseconds >= 0 and not self.leaving:
            self._timer = self.hub.call_later(milliseconds / 1000, self._timeout_check)

    def _timeout_check(self, *args: Any, **kwargs: Any) -> None:
        if not self.leaving:
            super()._timeout_check(*args, **kwargs)

    def _on_event(self, *args: Any, **kwargs: Any) -> None:
        if not self.leaving:
            super()._on_event(*args, **kwargs)
