"""The heartbeat: one UpdateItem every ten seconds, from a thread that neither jobs nor polls can block."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs.clock import Clock
from jobclaim.jobs.log import get_logger
from jobclaim.workers.state import worker

log = get_logger("jobclaim.heartbeat")

SHORTEST_PAUSE: Final = 1.0
"""Shortest time between two writes, seconds: jobs that start in between are reported together by the second one."""


@dataclass(frozen=True, slots=True)
class BeatPace:
    """How often to write, seconds.

    Attributes
    ----------
    interval : float
        Between two heartbeats when no jobs start.
    open_for : float
        How long after a heartbeat claims may still be made.
    """

    interval: float
    open_for: float

    def pause(self, *, failures: int, news: bool, jitter: float = 1.0) -> float:
        """Return the seconds from the last write to the next: fewer after a failure, about one for new jobs."""
        if failures:
            return min(self.interval, SHORTEST_PAUSE * 2.0 ** min(failures - 1, 10)) * jitter
        return SHORTEST_PAUSE if news else self.interval


class Heartbeat:
    """Updates the worker's record, opens the gate with each success, and passes on the commands in the record.

    Parameters
    ----------
    about : WorkerRecord
        The constant part of this worker's record.
    running : callable
        Returns the ids of the running jobs.
    obey : callable
        Called with the record that was read back; returns the ids of commands that are done.
    vouched : callable
        Returns the tokens of claims that recovery is to leave alone while the worker is alive.
    learn : callable
        Reads the pauses, which must be known before a claim is made. If it raises, the heartbeat has failed.
    """

    def __init__(
        self,
        records: FleetRecords,
        about: WorkerRecord,
        running: Callable[[], Sequence[str]],
        carry_out: Callable[[WorkerRecord], Sequence[str]],
        *,
        pace: BeatPace,
        clock: Clock,
        vouched: Callable[[], Sequence[str] | None] = lambda: None,
        learn: Callable[[], None] = lambda: None,
    ) -> None:
        self._records = records
        self._about = about
        self._running = running
        self._carry_out = carry_out
        self._pace = pace
        self._clock = clock
        self._vouched = vouched
        self._learn = learn
        self._reported: frozenset[str] = frozenset()
        self._carried_out: tuple[str, ...] = ()
        self._failures = 0
        self._jitter = 1.0
        self._last = -math.inf
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start; the gate stays closed until the first heartbeat is written."""
        self._thread.start()

    def report_start(self) -> None:
        """Report that a job has started: it is in the record within about a second."""
        if not self._wake.is_set():
            self._wake.set()

    def stop(self, timeout: float) -> None:
        """End the thread; the record stays as it was last written."""
        self._stopped.set()
        self._wake.set()
        self._thread.join(timeout)

    def beat(self) -> bool:
        """Write one heartbeat and obey the commands in the record; ``False`` if it failed, which is logged."""
        opened = worker.now()
        self._last = time.monotonic()
        try:
            jobs = tuple(self._running())
            claims = None if (vouched := self._vouched()) is None else tuple(vouched)
            record = replace(self._about, seen_at=self._clock(), jobs=jobs, claims=claims)
            answer = self._records.beat(record, self._carried_out)
            self._learn()
        except Exception as error:  # noqa: BLE001 - boto3 also raises RuntimeError and OSError, for stale credentials
            self._failed(error)
            return False
        worker.current().let_claim(opened + self._pace.open_for)
        if self._failures:
            log.info("heartbeat.recovered", missed=self._failures)
        self._failures = 0
        self._reported = frozenset(jobs)
        try:
            self._carried_out = tuple(self._carry_out(answer))
        except Exception:
            log.exception("commands.failed")
            self._carried_out = ()
        return True

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._jitter = random.uniform(0.5, 1.0)
        if self._failures == 1 or not worker.current().may_claim():
            log.error(
                "heartbeat.failed",
                reason=str(error) or type(error).__name__,
                claims="go on for now" if worker.current().may_claim() else "are not made until it is back",
            )

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._wait_or_beat()
            except Exception as error:  # noqa: BLE001 - without this thread the worker's jobs become orphans
                self._failed(error)
                self._stopped.wait(SHORTEST_PAUSE)

    def _wait_or_beat(self) -> None:
        self._wake.clear()
        news = bool(self._carried_out or set(self._running()) - self._reported)
        pause = self._pace.pause(failures=self._failures, news=news, jitter=self._jitter)
        wait = self._last + pause - time.monotonic()
        if wait > 0:
            # new jobs wake this thread, unless heartbeats fail or the next one is due within a second anyway
            (self._stopped if self._failures or news else self._wake).wait(wait)
        elif not self._stopped.is_set():
            self.beat()
