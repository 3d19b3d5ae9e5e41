"""ReceiveMessage in the worker's event loop: every request ends, and every end is an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, Final

import pycurl
from kombu.asynchronous.aws.connection import AsyncHTTPSConnection
from kombu.asynchronous.aws.ext import get_response
from kombu.asynchronous.aws.sqs.connection import AsyncSQSConnection
from kombu.asynchronous.http.curl import CurlClient
from vine import promise

from jobclaim.jobs.storage.inherited import leave_to_parent

MARGIN_SECONDS: Final = 5
"""How much longer than the poll itself an answer may take before the connection counts as broken."""
MAX_HANDLES: Final = 32
"""Concurrent requests; kombu's 10 would make the eleventh queue of a worker wait for the others."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A failed request: its HTTP status (599: no answer) and what is known about the cause."""

    status: int
    reason: str


Answer = dict[str, Any] | Failed


class PollConnection(AsyncSQSConnection):
    """Makes polls. kombu's class raises into the event loop on an error status, and waits for silent peers forever."""

    def __init__(self, sqs_connection: Any, http_client: Any, connect_seconds: float) -> None:
        super().__init__(sqs_connection, http_client=http_client)
        self._httpclient = http_client
        self._connect_seconds = connect_seconds
        self._answer_seconds = 0.0

    def poll(self, queue_url: str, count: int, wait: int, done: Callable[[Answer], None]) -> None:
        """Request messages; ``done`` is called once, with the messages or with the failure.

        Raises
        ------
        Exception
            The request could not be made, for example without credentials. ``done`` is not called.
        """
        self._answer_seconds = wait + MARGIN_SECONDS
        self.receive_message(queue_url, queue_url, count, wait_time_seconds=wait, callback=promise(done))

    def get_http_connection(self) -> Any:
        """Return a connection whose requests always end."""
        limits = {pycurl.CONNECTTIMEOUT_MS: self._connect_seconds, pycurl.TIMEOUT_MS: self._answer_seconds}
        return _BoundedConnection(self._httpclient, {option: int(1000 * limit) for option, limit in limits.items()})

    def _on_list_ready(self, parent: Any, markers: Any, operation: str, response: Any) -> Answer:
        try:
            if response.status != self.STATUS_CODE_OK:
                return Failed(response.status, self._reason(response))
            model = self.sqs_connection.meta.service_model.operation_model(operation)
            _, parsed = get_response(model, response.response)
        except Exception as error:  # noqa: BLE001 - whatever a proxy sends instead of an answer, it is no message
            return Failed(response.status, f"unreadable answer: {type(error).__name__}")
        return parsed if isinstance(parsed, dict) else Failed(response.status, "unreadable answer")

    def _reason(self, response: Any) -> str:
        body = response.read() or b""
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
        return " ".join(f"HTTP {response.status} {response.reason} {text}".split())[:300]


class _BoundedConnection(AsyncHTTPSConnection):
    def __init__(self, http_client: Any, limits: dict[int, int]) -> None:
        super().__init__(http_client=http_client)
        self._limits = limits

    def getrequest(self) -> Any:
        request = super().getrequest()
        request.on_prepare = self._prepare
        return request

    def _prepare(self, curl: Any) -> None:
        for option, limit in self._limits.items():
            curl.setopt(option, limit)
        curl.setopt(pycurl.NOSIGNAL, 1)


class PatientClient(CurlClient):
    """A curl client that waits for its last answers: an aborted poll would leave a message hidden for hours."""

    def __init__(self, hub: Any, patience_seconds: float) -> None:
        super().__init__(hub, max_clients=MAX_HANDLES)
        for handle in (self._multi, *self._curls):
            leave_to_parent(handle)
        self._patience = patience_seconds
        self._thread: threading.Thread | None = None
        self._ended = False
        self.leaving = False
        hub.on_close.add(self._end_with_the_loop)  # kombu does so since 5.7; it iterates, so nothing may be removed

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

    def _timeout_check(self, *args: Any, **kwargs: Any) -> None:
        if not self.leaving:
            super()._timeout_check(*args, **kwargs)

    def _on_event(self, *args: Any, **kwargs: Any) -> None:
        if not self.leaving:
            super()._on_event(*args, **kwargs)
