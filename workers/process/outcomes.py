"""Record the outcomes that children hand over, with requests in the worker's event loop.

::

    child: answer with its planned completion ──▶ event loop ──▶ one request ──▶ 200: logged and counted
                                                                   └─ else ──▶ recorder's threads, until the lease ends

A child that has handed its outcome over can claim its next job while this one is recorded, so that a job costs it one
round trip instead of two. Outcomes are taken only while the loop turns and DynamoDB answers: each job that a child
accepts opens that for a second, and a request that fails, or too many under way, close it. Then children record
their outcomes themselves. So a process has at most one attempt, and a main process some few outcomes that are not
recorded yet, for as long as a request takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import pycurl

from jobclaim.jobs.log import get_logger, speaking_for
from jobclaim.jobs.repo.handing import PlannedCompletion
from jobclaim.jobs.storage.bodies import from_json
from jobclaim.jobs.storage.bundle import prepare
from jobclaim.jobs.storage.inherited import leave_to_parent
from jobclaim.jobs.storage.lean import LeanClient
from jobclaim.workers.attempt.outcome import record_planned
from jobclaim.workers.handle import Handle
from jobclaim.workers.process.recorder import Recorder
from jobclaim.workers.state import worker

log = get_logger("jobclaim.worker")

OPEN_SECONDS: Final = 1.0
"""For how long an accepted job lets children hand outcomes over: one that takes longer records its own, unless others
start meanwhile. It shows that the event loop turns, and bounds what is lost with a main process that stands still."""
MOST_PER_PROCESS: Final = 2
"""Requests under way, per process of the pool, from which on children record their outcomes themselves."""
LAST_SECONDS: Final = 1.0
"""How long to wait for answers when the event loop ends."""
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
        self._timer: Any = None
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
        if not self._is_turning:
            return
        self._hub.remove(number)  # never left behind: libcurl may close the socket next
        if event in (pycurl.POLL_IN, pycurl.POLL_INOUT):
            self._hub.add_reader(number, self._act, number, pycurl.CSELECT_IN)
        if event in (pycurl.POLL_OUT, pycurl.POLL_INOUT):
            self._hub.add_writer(number, self._act, number, pycurl.CSELECT_OUT)

    def _wake(self, milliseconds: int) -> None:
        """Keep the one timer that libcurl asks for; below 0 it asks for none."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if milliseconds >= 0 and self._is_turning:
            self._timer = self._hub.call_later(milliseconds / 1000, self._act, pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, number: int, kind: int) -> None:
        with suppress(pycurl.error):  # as kombu does: what became of a request is known from its answer
            self._multi.socket_action(number, kind)
        self._take_answers()

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
        with suppress(pycurl.error):  # as in `_end`: then threads make these requests again
            while self._used and time.monotonic() < deadline:
                self._multi.select(0.05)
                self._multi.perform()
                self._take_answers()
        for curl in list(self._used):
            self._end(curl)


class Outcomes:
    """The outcomes that a worker's main process records for its children.

    Parameters
    ----------
    hub : kombu.asynchronous.Hub, optional
        The event loop; without one, children record their outcomes themselves.
    recorder : Recorder
        Writes what the loop could not write at once; its own, because that may take until a lease ends.
    processes : int
        Processes of the pool.
    """

    def __init__(self, handle: Handle, hub: Any, recorder: Recorder, processes: int) -> None:
        self._handle, self._recorder = handle, recorder
        self._most = MOST_PER_PROCESS * processes
        self._delayed: dict[str, PlannedCompletion] = {}
        self._is_closed = self._lost_any = False
        client = handle.repo.table.client()
        is_possible = hub is not None and isinstance(client, LeanClient)
        self._requests = LoopRequests(hub, client, self._answered) if is_possible else None

    def job_ids(self) -> set[str]:
        """Return the jobs whose outcomes are not recorded yet; for any thread."""
        under_way = self._requests.under_way() if self._requests is not None else []
        return {planned.job_id for planned in (*under_way, *list(self._delayed.values()))}

    def open(self) -> None:
        """Let children hand outcomes over for a moment, if all is well."""
        if self._requests is None:
            return
        is_well = not (self._is_closed or self._delayed) and len(self._requests) < self._most
        worker.current().take_outcomes(worker.now() + OPEN_SECONDS if is_well else 0.0)
        if self._is_closed:  # by a signal's handler, between these lines
            self.close()

    def close(self) -> None:
        """Take no more outcomes than those that are handed over already."""
        self._is_closed = True
        worker.current().take_outcomes(0.0)

    def record(self, planned: PlannedCompletion) -> None:
        """Record an outcome; called by the event loop, or by the pool when it closes."""
        try:
            started = self._requests is not None and self._requests.start(planned)
        except Exception:  # noqa: BLE001 - such as missing credentials; a recorder's thread tries on, and reports it
            started = False
        if not started:
            self._delay(planned)

    def leave_loop(self) -> None:
        """Wait for a moment for the requests under way, and make no others until the loop turns again."""
        if self._requests is not None:
            self._requests.finish()

    def end(self) -> None:
        """Take no more outcomes, and leave the loop, which does not turn again."""
        self.close()
        self.leave_loop()

    def flush(self, timeout: float) -> bool:
        """Wait until everything is recorded, at most ``timeout`` seconds; return whether it was."""
        return self._recorder.flush(timeout) and not self._lost_any

    def _answered(self, planned: PlannedCompletion, written: bool) -> None:
        if not written:
            self._delay(planned)
            return
        try:
            with speaking_for(self._handle):
                self._handle.repo.announce_planned(planned)
        except Exception:
            with suppress(Exception):  # the same handler gets this line
                log.exception("worker.announcement_failed")

    def _delay(self, planned: PlannedCompletion) -> None:
        """Have a recorder's thread write an outcome, and take no others meanwhile."""
        self._delayed[planned.token] = planned
        worker.current().take_outcomes(0.0)
        if not self._recorder.submit(partial(self._write, planned)):
            self._lost_any = True
            del self._delayed[planned.token]

    def _write(self, planned: PlannedCompletion) -> None:
        try:
            with speaking_for(self._handle):
                record_planned(self._handle.repo, planned)
        finally:
            del self._delayed[planned.token]
