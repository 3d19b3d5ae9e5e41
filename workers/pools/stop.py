"""Stop a worker of threads: threads cannot be ended, so their process ends before their jobs may start again.

::

    drain is over ──▶ plan ──▶ claims released, to start after the end ──▶ pool abandoned ──▶ the process ends
                       └── a timer ends it in any case ────────────────────────────────────────────▲

A released job's next attempt may not start before the process has ended, whatever its thread did.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from typing import Any, Final

from celery.worker import state

from jobclaim.jobs.log import get_logger
from jobclaim.workers.pools.threads import TaskPool

log = get_logger("jobclaim.worker")

LONGEST_SECONDS: Final = 5.0
"""Seconds from the end of the drain to the end of the process, for recording the jobs' outcomes."""
SLACK_SECONDS: Final = 1.0
"""Seconds from then until the timer ends the process; released jobs start that much later."""


class ThreadStop:
    """Limits how long the threads of a pool may still run once their jobs are released.

    Parameters
    ----------
    most_seconds : float
        The time that the worker's stop leaves for it.
    """

    def __init__(self, pool: TaskPool, most_seconds: float) -> None:
        self._pool = pool
        self._seconds = min(LONGEST_SECONDS, most_seconds)
        self._lock = threading.Lock()
        self._ends_at: float | None = None

    def plan(self) -> float:
        """Schedule the end, if it is not scheduled yet; return its time, by ``time.monotonic()``."""
        with self._lock:
            if self._ends_at is None:
                self._ends_at = time.monotonic() + self._seconds
                timer = threading.Timer(self._seconds + SLACK_SECONDS, os._exit, (_exit_code(),))
                timer.daemon = True
                timer.start()
            return self._ends_at

    def available_at(self, now: int) -> int:
        """Return when a released job may start, epoch milliseconds: when no thread of this process runs anymore."""
        return now + round((self.plan() + 2 * SLACK_SECONDS - time.monotonic()) * 1000)

    def supervise(self, active: Collection[Any], is_written: Callable[[], bool]) -> None:
        """Abandon the pool as soon as all jobs are released, or when the time for that is over."""
        if self._ends_at is None:
            return
        released = all(request.is_handled or not request.job_ids() for request in active)
        if time.monotonic() >= self._ends_at or (released and is_written()):
            self._pool.abandon()

    def leave(self) -> None:
        """End the process if bodies still run: a normal exit of the interpreter would wait for what they started."""
        if count := self._pool.left_behind:
            log.warning("worker.threads_abandoned", count=count)
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(_exit_code())


def _exit_code() -> int:
    return int(state.should_terminate or state.should_stop or 0)
