"""The pipes between a prefork pool and its children, with fewer calls and turns of the event loop per job.

::

    Celery:   answer read ──▶ next call waits ──▶ loop turns, looks at all pipes ──▶ loop turns ──▶ written in two parts
    here:     answer read ──▶ next call written at once, in one part

Celery has the loop look for pipes that can be written to, those of busy children among them, and stop looking as soon
as a call is written. A child that has answered has read all of its pipe, so there is no need to look. What a pipe does
not take after all is written by Celery's own code, when the loop says so. (Celery 5.7: `AsynPool`.)
"""

from __future__ import annotations

import os
import pickle
import select
import struct
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from celery.concurrency.asynpool import SCHED_STRATEGY_FAIR

HEADER: Final = struct.Struct(">I")
NOTHING: Final = b""


def write_at_once(pool: Any) -> None:
    """Make a prefork pool write to its children at once, if it gives them one call at a time, as Celery does by
    default. Call it after what changes the pool's ``flush``.
    """
    inner: Any = getattr(pool, "_pool", None)
    usual_registration = getattr(inner, "register_with_event_loop", None)
    if usual_registration is None or inner.sched_strategy != SCHED_STRATEGY_FAIR:
        return
    pipes, celerys_read = Pipes(inner), inner._result_handler._recv_message

    def register_with_event_loop(hub: Any) -> None:
        """Register with the loop; once more after a lost connection."""
        usual_registration(hub)
        hub.on_tick.discard(inner.on_poll_start)
        pipes.hub, pipes.write = hub, hub.consolidate_callback
        inner._quick_put, inner.on_poll_start = pipes.send, pipes.write_waiting
        hub.on_tick.add(pipes.write_waiting)

    inner.register_with_event_loop = register_with_event_loop
    inner._result_handler._recv_message = lambda _, *arguments: celerys_read(pipes.keep_reading, *arguments)
    inner._join_exited_workers = pipes.not_during(inner._join_exited_workers)
    pool.flush = pipes.not_during(pool.flush)


class Pipes:
    """The pipes of a pool.

    Parameters
    ----------
    inner : celery.concurrency.asynpool.AsynPool

    Attributes
    ----------
    hub : kombu.asynchronous.Hub
    write : callable
        Celery's function that writes one waiting call to each of some pipes.
    """

    def __init__(self, inner: Any) -> None:
        self.hub: Any = None
        self.write: Any = None
        self._waiting, self._jobs = inner.outbound_buffer, inner._cache
        self._all, self._busy, self._written = inner._all_inqueues, inner._busy_workers, inner._active_writes
        self._children, self._statistics = inner._fileno_to_inq, inner.write_stats
        self._waits_for_turn = False

    def not_during(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of the pool, during which no call is written.

        While the pool looks for children that have ended, one that looks free may have ended too. While it drops what
        waits, nothing else is to start.
        """

        @wraps(function)
        def alone(*args: Any, **kwargs: Any) -> Any:
            before, self._waits_for_turn = self._waits_for_turn, True
            try:
                return function(*args, **kwargs)
            finally:
                self._waits_for_turn = before

        return alone

    def send(self, call: Any) -> None:
        """Give a call to a free child, or keep it until there is one."""
        body = pickle.dumps(call, pickle.HIGHEST_PROTOCOL)
        header, job = HEADER.pack(len(body)), self._jobs[call[1][0]]
        if len(header) + len(body) <= select.PIPE_BUF:  # a pipe takes it as a whole or not at all
            job._payload = header + body, NOTHING, 0
        else:
            job._payload = memoryview(header), memoryview(body), len(body)
        self._waiting.append(job)
        if not self._waits_for_turn:
            self.write_waiting()

    def write_waiting(self) -> None:
        """Write the waiting calls to the children that are free; the loop calls this in each turn."""
        for _ in range(len(self._waiting)):
            free = next((pipe for pipe in self._all if pipe not in self._busy and pipe not in self._written), None)
            if free is None:
                return
            if not self._write_whole(free):
                self.write([free])

    def _write_whole(self, pipe: int) -> bool:
        """Write the first of the waiting calls, or leave it to Celery: ``False``.

        It leaves the same traces as Celery's code, which looks for them when a child has ended.
        """
        job, child = self._waiting[0], self._children.get(pipe)
        whole, rest, _ = job._payload
        if len(rest) or job._accepted or child is None:  # one that has been terminated counts as accepted
            return False
        self._waiting.popleft()
        self._busy.add(pipe)
        job._writer = _no_writer  # first: whoever sees `_write_to` asks for it
        job._scheduled_for = job._write_to = child
        try:
            os.write(pipe, whole)
        except OSError:  # the pipe is full, or closed
            self._busy.discard(pipe)
            self._waiting.appendleft(job)
            return False
        self._statistics[child.index] += 1
        return True

    def keep_reading(self, number: int, callback: Any, *args: Any) -> None:
        """Have a child's answers read from now on, unless they are anyway."""
        known = self.hub.readers.get(number)
        if known is None or known[0] is not callback:
            self.hub.add_reader(number, callback, *args)


def _no_writer() -> None:
    """Return that nothing is left to write, as a reference to a generator that has ended does."""
