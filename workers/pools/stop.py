"""The end of a worker of threads: they cannot be ended, so their process is, before what they held may start again.

::

    drain is over ──▶ plan ──▶ claims released, to start after the end ──▶ pool abandoned ──▶ the process ends
                       └── a timer ends it in any case ────────────────────────────────────────────▲

A released job's next attempt may start at the earliest when the process is gone, whatever became of its thread.
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
"""From the end of the drain to the end of the process: for writing what becomes of the jobs."""
SLACK_SECONDS: Final = 1.0
"""From then until the timer ends the process; released jobs start as much later."""


class ThreadStop:
    """Bounds how long the threads of a pool may still run, once their jobs are given back.

    Parameters
    ----------
    most_seconds : float
        What the worker's stop leaves for it.
    """

    def __init__(self, pool: TaskPool, most_seconds: float) -> None:
        self._pool = pool
        self._seconds = min(LONGEST_SECONDS, most_seconds)
        self._lock = threading.Lock()
        self._ends_at: float | None = None

    def plan(self) -> float:
        """Let the end come, if it is not coming yet; gives when, by ``time.monotonic()``."""
        with self._lock:
            if self._ends_at is None:
                self._ends_at = time.monotonic() + self._seconds
                timer = threading.Timer(self._seconds + SLACK_SECONDS, os._exit, (_exit_code(),))
                timer.daemon = True
                timer.start()
            return self._ends_at

    def available_at(self, now: int) -> int:
        """When a job that is given back may start, epoch milliseconds: no thread of this process runs any more."""
        return now + round((self.plan() + 2 * SLACK_SECONDS - time.monotonic()) * 1000)

    def mind(self, active: Collection[Any], is_written: Callable[[], bool]) -> None:
        """Abandon the pool as soon as everything is given back, or when the time for that is over."""
        if self._ends_at is None:
            return
        given_back = all(request.settled or not request.job_ids() for request in active)
        if time.monotonic() >= self._ends_at or (given_back and is_written()):
            self._pool.abandon()

    def leave(self) -> None:
        """End the process where bodies still run: an interpreter that ends would wait for what they started."""
        if count := self._pool.left_behind:
            log.warning("worker.threads_abandoned", count=count)
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(_exit_code())


def _exit_code() -> int:
    return int(state.should_terminate or state.should_stop or 0)
