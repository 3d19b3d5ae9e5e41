"""This worker: what its main process makes before the pool forks, so that its children share it.

::

    begin ──▶ fork ──▶ main process   name, gate and marks written, claims of lost children read, `Owner`
                   └─▶ children       name, gate and marks read, claims noted
    end   ──▶ the process is what it was before: outside of a worker nothing is cancelled, and the gate is open

The gate allows claims only while the fleet knows that the worker is alive. Recovery considers a worker lost after
`Settings.worker_dead_after_seconds` without a heartbeat, and ends its jobs, so a worker that cannot write its heartbeat
must stop claiming before that. Every heartbeat opens the gate for a while, and it closes by itself: a process that was
frozen meanwhile finds it closed.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import Any, Protocol

from jobclaim.jobs.repo.handing import PlannedCompletion
from jobclaim.jobs.storage.pauses import Pauses
from jobclaim.workers.state.board import Board
from jobclaim.workers.state.handed import HandedOver
from jobclaim.workers.state.held import ClaimNotes, NotedClaim
from jobclaim.workers.state.pauses import PausePage

# this clock keeps running while the machine is suspended, and is the same for all its processes
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return the time of the gate's own clock, seconds."""
    return time.clock_gettime(_CLOCK)


class Owner(Protocol):
    """Interface that handles events of requests in the main process; `jobclaim.workers.process.parent.Parent`
    implements it.
    """

    def started(self) -> None:
        """Handle that a child has accepted a job."""

    def completed(self, planned: PlannedCompletion) -> None:
        """Record the outcome that a child has handed over."""

    def lost(self, request: Any, error: BaseException) -> None:
        """Handle that an attempt's child is lost."""

    def unanswered(self, request: Any) -> None:
        """Handle that the claim of an attempt had no answer."""

    def retried(self, request: Any) -> None:
        """Handle that another attempt is to follow."""

    def cancel(self, request: Any) -> None:
        """End the attempts as cancelled."""

    def release(self, request: Any) -> None:
        """Release the jobs before their child is killed."""


class Worker:
    """A worker as its processes see it, or the placeholder in a process outside of a worker.

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
        self._pauses = PausePage() if shares else None
        self._handed = HandedOver() if shares else None
        self._pid = os.getpid()
        self._owner: Owner | None = None
        self._owner_pid = 0

    # --- the gate
    def let_claim(self, until: float) -> None:
        """Allow claims up to a time of `now`; 0 allows none."""
        if self._board is not None:
            self._board.open_until = until

    def may_claim(self) -> bool:
        """Return whether a claim may be made now; always true outside of a worker."""
        return self._board is None or now() < self._board.open_until

    # --- outcomes that the main process records
    def take_outcomes(self, until: float) -> None:
        """Let children hand outcomes over up to a time of `now`; 0: from now on they record theirs themselves."""
        if self._board is not None:
            self._board.takes_until = until

    def takes_outcomes(self) -> bool:
        """Return whether this process is a child whose main process records its outcomes now."""
        return self._board is not None and os.getppid() == self._pid and now() < self._board.takes_until

    def hand_over(self, token: str) -> bool:
        """Note that the outcome of a claim is in the answer that this child is about to give; ``False``: it may not
        be.
        """
        return self._handed is not None and self.takes_outcomes() and self._handed.put(token)

    def is_handed_over(self, token: str) -> bool:
        """Return whether the outcome of a claim is in an answer of a child, read or not."""
        return self._handed is not None and self._handed.has(token)

    # --- pauses
    def tell_pauses(self, known: Pauses) -> None:
        """Share what the main process has read."""
        if self._pauses is not None:
            self._pauses.write(known)

    def pauses(self) -> Pauses | None:
        """Return what the main process has read last; ``None`` outside of a worker."""
        return self._pauses.read() if self._pauses is not None else None

    # --- cancels
    def mark_cancelled(self, token: str) -> bool:
        """Mark the attempt with this claim as cancelled; ``False`` if it cannot be marked."""
        return self._board is not None and self._board.mark(token)

    def unmark(self, token: str) -> None:
        """Remove the mark of a claim that has ended."""
        if self._board is not None:
            self._board.unmark(token)

    def is_cancelled(self, token: str) -> bool:
        """Return whether the attempt with this claim is to end."""
        return self._board is not None and self._board.is_marked(token)

    # --- claims of bodies
    def note(self, delivery: str, job_id: str, token: str) -> None:
        """Note a claim that a body is about to request."""
        if self._held is not None:
            self._held.put(delivery, NotedClaim(job_id, token))

    def drop(self, token: str) -> None:
        """Remove the note of a claim of this process that has ended."""
        if self._held is not None:
            self._held.drop(token)

    def clear(self, delivery: str) -> None:
        """Remove the notes of a delivery whose child is lost."""
        if self._held is not None:
            self._held.clear(delivery)

    def claims_of(self, delivery: str) -> list[NotedClaim]:
        """Return the claims that are held under a delivery."""
        return self._held.of(delivery) if self._held is not None else []

    def claims(self) -> list[NotedClaim]:
        """Return all claims that bodies hold."""
        return [claim for claims in self._held.all().values() for claim in claims] if self._held is not None else []

    # --- the main process
    @property
    def owner(self) -> Owner | None:
        """The owner of the requests; ``None`` in children, although those forked later inherit it."""
        return self._owner if self._owner_pid == os.getpid() else None

    @owner.setter
    def owner(self, owner_: Owner) -> None:
        self._owner, self._owner_pid = owner_, os.getpid()


_current: list[Worker] = []


def begin() -> Worker:
    """Make this process a worker; called once when its main process starts, before it forks."""
    _current[:] = [Worker()]
    return _current[0]


def end() -> None:
    """Stop being a worker; called when the pool is empty."""
    _current.clear()


def current() -> Worker:
    """Return the worker that this process belongs to; outside of a worker, a placeholder."""
    if not _current:
        _current.append(Worker(shares=False))
    return _current[0]
