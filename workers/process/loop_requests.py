"""Requests to DynamoDB in the worker's event loop, which makes one for each outcome that a child hands over.

libcurl says which of its sockets are to be watched, and when it wants to be called without an event. Both are passed on
to the loop with as few calls of it as possible, because they are made for every job.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import pycurl

from jobclaim.jobs.repo.handing import PlannedCompletion
from jobclaim.jobs.storage.bodies import from_json
from jobclaim.jobs.storage.bundle import prepare
from jobclaim.jobs.storage.inherited import leave_to_parent
from jobclaim.jobs.storage.lean import LeanClient

LAST_SECONDS: Final = 1.0
"""How long to wait for answers when the event loop ends."""
NEVER: Final = math.inf
OK: Final = 200
Done = Callable[[PlannedCompletion, bool], None]


class Line:
    """A connection with the answer to its last request."""

    __slots__ = ("body", "curl")

    def __init__(self, curl: Any) -> None:
        self.curl, self.body = curl, bytearray()
        curl.setopt(pycurl.WRITEFUNCTION, self.body.extend)

    def is_ok(self) -> bool:
        """Return whether DynamoDB has made the write; a proxy may answer with status 200 too, but not with JSON."""
        try:
            return self.curl.getinfo(pycurl.RESPONSE_CODE) == OK and isinstance(from_json(bytes(self.body)), dict)
        except ValueError:
            return False


class Alarm:
    """The one timer of the loop that libcurl needs. It is set anew only for an earlier time: when a request ends, the
    time is usually later, and a timer that rings too early sets itself again.

    Attributes
    ----------
    due : float
        When to call, by ``time.monotonic()``; what changes it calls `keep`.
    """

    def __init__(self, hub: Any, call: Callable[[], None]) -> None:
        self._hub, self._call = hub, call
        self._timer: Any = None
        self._rings_at = self.due = NEVER

    def keep(self) -> None:
        """Ring in time for what is due."""
        if self.due < self._rings_at:
            self.cancel()
            self._rings_at = self.due
            self._timer = self._hub.call_later(max(0.0, self.due - time.monotonic()), self._ring)

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = None, NEVER

    def _ring(self) -> None:
        self._timer, self._rings_at = None, NEVER
        if time.monotonic() >= self.due:
            self.due = NEVER
            self._call()
        self.keep()


class LoopRequests:
    """Requests of one thread, in its event loop.

    Parameters
    ----------
    hub : kombu.asynchronous.Hub
    client : LeanClient
    done : callable
        Called once for each completion, with whether it was written.
    """

    def __init__(self, hub: Any, client: LeanClient, done: Done) -> None:
        self._hub, self._client, self._done = hub, client, done
        self._multi = leave_to_parent(pycurl.CurlMulti())
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._wake)
        self._idle: list[Line] = []
        self._used: dict[Any, tuple[Line, PlannedCompletion]] = {}
        self._watched: set[int] = set()
        self._alarm = Alarm(hub, partial(self._act, pycurl.SOCKET_TIMEOUT, 0))
        self._is_turning = False
        hub.on_tick.add(self._turn)
        hub.on_close.add(lambda _: self.finish())

    def __len__(self) -> int:
        return len(self._used)

    def under_way(self) -> list[PlannedCompletion]:
        """Return the completions of the requests without an answer; for any thread."""
        return [planned for _, planned in list(self._used.values())]

    def start(self, planned: PlannedCompletion) -> bool:
        """Begin a request; ``False`` outside the loop. Raises what makes a request impossible."""
        if not self._is_turning:
            return False
        request = self._client.signed("UpdateItem", planned.request)
        line = self._idle.pop() if self._idle else Line(self._client.connection())
        line.body.clear()
        prepare(line.curl, request, self._client.longest_ms)
        self._used[line.curl] = line, planned
        try:
            self._multi.add_handle(line.curl)
        except pycurl.error:
            del self._used[line.curl]
            raise
        self._act(pycurl.SOCKET_TIMEOUT, 0)
        return True

    # --- the loop
    def _turn(self) -> None:
        self._is_turning = True

    def _watch(self, event: int, number: int, *_: Any) -> None:
        """Watch a socket as libcurl asks; it is never left behind, because libcurl may close it next."""
        if not self._is_turning:
            return
        if number in self._watched:
            self._watched.discard(number)
            self._hub.remove(number)
        if event in (pycurl.POLL_IN, pycurl.POLL_INOUT):
            self._watched.add(number)
            self._hub.add_reader(number, self._act, number, pycurl.CSELECT_IN)
        if event in (pycurl.POLL_OUT, pycurl.POLL_INOUT):
            self._watched.add(number)
            self._hub.add_writer(number, self._act, number, pycurl.CSELECT_OUT)

    def _wake(self, milliseconds: int) -> None:
        """Note when libcurl wants to be called; below 0 it does not."""
        self._alarm.due = time.monotonic() + milliseconds / 1000 if milliseconds >= 0 else NEVER

    def _act(self, number: int, kind: int) -> None:
        with suppress(pycurl.error):  # as kombu does: what became of a request is known from its answer
            self._multi.socket_action(number, kind)
        self._take_answers()
        if self._is_turning:
            self._alarm.keep()

    def _take_answers(self) -> None:
        _, answered, failed = self._multi.info_read()
        for curl in answered:
            self._end(curl, answered=True)
        for curl, *_ in failed:
            self._end(curl)

    def _end(self, curl: Any, *, answered: bool = False) -> None:
        found = self._used.pop(curl, None)
        with suppress(pycurl.error):  # where a signal's handler has interrupted libcurl, or `start`
            self._multi.remove_handle(curl)
        if found is not None:
            line, planned = found
            self._idle.append(line)
            self._done(planned, answered and line.is_ok())

    def finish(self) -> None:
        """Wait for the last answers: the loop ends, or begins anew after a lost connection. In its thread only."""
        self._is_turning, deadline = False, time.monotonic() + LAST_SECONDS
        self._alarm.cancel()
        with suppress(pycurl.error):  # as in `_end`: then threads make these requests again
            while self._used and time.monotonic() < deadline:
                self._multi.select(0.05)
                self._multi.perform()
                self._take_answers()
        for curl in list(self._used):
            self._end(curl)
