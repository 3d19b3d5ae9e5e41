"""A few threads that write for the event loop, so that recording does not stop the main process from polling."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from jobclaim.jobs.log import get_logger

log = get_logger("jobclaim.worker")

THREADS: Final = 4
CAPACITY: Final = 1_000
"""Limit of waiting records; many times more than a worker has processes."""


class Recorder:
    """Runs small functions in threads. These are daemons, so an outage cannot delay the end of the process."""

    def __init__(self, *, threads: int = THREADS, capacity: int = CAPACITY) -> None:
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(capacity)
        self._threads = [threading.Thread(target=self._work, name=f"recorder-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, record: Callable[[], None]) -> bool:
        """Schedule a function; ``False`` if too many wait: then recovery must find the job."""
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            log.error("worker.outcomes_not_recorded", waiting=self._waiting.qsize())
            return False
        return True

    def flush(self, timeout: float) -> bool:
        """Wait until everything submitted so far has run, at most ``timeout`` seconds; return whether it has."""
        deadline = time.monotonic() + timeout
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._waiting.all_tasks_done.wait(left)
        return True

    def _work(self) -> None:
        while True:
            record = self._waiting.get()
            try:
                record()
            except Exception:
                log.exception("worker.outcomes_not_recorded")
            finally:
                self._waiting.task_done()
