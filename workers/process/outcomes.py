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

from contextlib import suppress
from functools import partial
from typing import Any, Final

from jobclaim.jobs.log import get_logger, speaking_for
from jobclaim.jobs.repo.handing import PlannedCompletion
from jobclaim.jobs.storage.lean import LeanClient
from jobclaim.workers.attempt.outcome import record_planned
from jobclaim.workers.handle import Handle
from jobclaim.workers.process.loop_requests import LoopRequests
from jobclaim.workers.process.recorder import Recorder
from jobclaim.workers.state import worker

log = get_logger("jobclaim.worker")

OPEN_SECONDS: Final = 1.0
"""For how long an accepted job lets children hand outcomes over: one that takes longer records its own, unless others
start meanwhile. It shows that the event loop turns, and bounds what is lost with a main process that stands still."""
MOST_PER_PROCESS: Final = 2
"""Requests under way, per process of the pool, from which on children record their outcomes themselves."""


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
