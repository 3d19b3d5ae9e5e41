"""This worker: what its main process makes before the pool forks, so that its children share it, until it has stopped.

::

    begin ──▶ fork ──▶ main process   name, gate and marks written, claims of lost children read, `Owner`
                   └─▶ children       name, gate and marks read, claims noted
    end   ──▶ the process is what it was before: outside of a worker nothing is cancelled, and the gate is open

The gate lets claims be made only while the fleet knows that the worker lives. Recovery takes a worker for lost that was
silent for `Settings.worker_dead_after_seconds`, and ends its jobs, so a worker that cannot write its heartbeat must
stop claiming before that. The gate opens for a while with every heartbeat and closes by itself: a process that was
frozen meanwhile finds it closed.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import Any, Protocol

from jobclaim.workers.process.board import Board
from jobclaim.workers.process.held import ClaimNotes, NotedClaim

# time that goes on while the machine is suspended, the same for all its processes
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds of the gate's own clock."""
    return time.clock_gettime(_CLOCK)


class Owner(Protocol):
    """What a worker's main process does with its requests: `jobclaim.workers.process.parent.Parent`."""

    def started(self) -> None:
        """Hear that a child has taken a job."""

    def lost(self, request: Any, error: BaseException) -> None:
        """Hear that an attempt's child is gone."""

    def unanswered(self, request: Any) -> None:
        """Hear that the claim of an attempt had no answer."""

    def retried(self, request: Any) -> None:
        """Hear that another attempt is to follow."""

    def cancel(self, request: Any) -> None:
        """End the attempts as cancelled."""

    def give_back(self, request: Any) -> None:
        """Put the jobs back before their child is killed."""


class Worker:
    """A worker as its processes see it, or a process that is no worker's.

    Parameters
    ----------
    shares : bool
        Whether there is memory to share with children; not outside of a worker.

    Attributes
    ----------
    worker_id : str
        ``host:pid:random``; claims are recorded with it.
    """

    def __init__(self, *, shares: bool = True) -> None:
        self.worker_id = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._board = Board() if shares else None
        self._held = ClaimNotes() if shares else None
        self._owner: Owner | None = None
        self._owner_pid = 0

    # --- the gate
    def let_claim(self, until: float) -> None:
        """Let claims be made up to a time of `now`; 0 for none at all."""
        if self._board is not None:
            self._board.open_until = until

    def may_claim(self) -> bool:
        """Whether a claim may be made now; always, outside of a worker."""
        return self._board is None or now() < self._board.open_until

    # --- cancels
    def mark_cancelled(self, token: str) -> bool:
        """Tell the child with this claim that it is to end; ``False`` where it cannot be told."""
        return self._board is not None and self._board.mark(token)

    def unmark(self, token: str) -> None:
        """Forget a claim that is over."""
        if self._board is not None:
            self._board.unmark(token)

    def is_cancelled(self, token: str) -> bool:
        """Whether the attempt with this claim is to end."""
        return self._board is not None and self._board.is_marked(token)

    # --- claims of bodies
    def note(self, delivery: str, job_id: str, token: str) -> None:
        """Note a claim that a body is about to ask for."""
        if self._held is not None:
            self._held.put(delivery, NotedClaim(job_id, token))

    def drop(self, token: str) -> None:
        """Forget a claim of this process that is over."""
        if self._held is not None:
            self._held.drop(token)

    def clear(self, delivery: str) -> None:
        """Forget what is noted under a delivery whose child is gone."""
        if self._held is not None:
            self._held.clear(delivery)

    def claims_of(self, delivery: str) -> list[NotedClaim]:
        """Give the claims that are held under a delivery."""
        return self._held.of(delivery) if self._held is not None else []

    def claims(self) -> list[NotedClaim]:
        """Give all claims that bodies hold."""
        return [claim for claims in self._held.all().values() for claim in claims] if self._held is not None else []

    # --- the main process
    @property
    def owner(self) -> Owner | None:
        """Who looks after the requests; ``None`` in children, though those that are forked later inherit it."""
        return self._owner if self._owner_pid == os.getpid() else None

    @owner.setter
    def owner(self, made: Owner) -> None:
        self._owner, self._owner_pid = made, os.getpid()


_current: list[Worker] = []


def begin() -> Worker:
    """Make this process a worker; called once when its main process starts, before it forks."""
    _current[:] = [Worker()]
    return _current[0]


def end() -> None:
    """Let this process be no worker any more; called when its pool is empty."""
    _current.clear()


def current() -> Worker:
    """Give the worker that this process belongs to, or what stands for one outside of any."""
    if not _current:
        _current.append(Worker(shares=False))
    return _current[0]
