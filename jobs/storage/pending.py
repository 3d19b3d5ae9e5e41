"""Numbers that a process adds up in memory and writes now and then, so that counting costs no request of its own.

::

    add ──▶ memory ──┬── some seconds after the first number ──▶ write
                     └── the process ends ────────────────────▶ write, within a few seconds for all of them

A killed process loses what it has not written. A forked child starts from nothing: its parent writes the parent's.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

from jobclaim.jobs.clock import Clock, system_clock

Write: TypeAlias = Callable[[Counter[Any], bool], bool]
"""``write(numbers, last)`` returns whether they were written; ``last`` asks for one short try, as the process ends."""

LAST_SECONDS: Final = 3.0
"""How long an ending process waits for an answer."""
_by_process: Final[dict[int, set[Pending]]] = {}


class Pending:
    """Numbers by key that are not written yet. Thread-safe; may be used before and after a fork.

    Parameters
    ----------
    every : float
        Seconds from the first number to the write.
    clock : Clock
        Under any other clock than the machine's, nothing is written until `flush`: time may stand still, or jump.
    """

    def __init__(self, write: Write, *, every: float, clock: Clock) -> None:
        self._write = write
        self._every = every
        self._by_itself = writes_by_itself(clock)
        self._states: dict[int, _State] = {}

    def add(self, numbers: Mapping[Any, int]) -> None:
        """Add numbers in memory, within a few microseconds and without a request."""
        state = self._state()
        with state.lock:
            for key, number in numbers.items():
                state.numbers[key] += number
            first, state.waits = not state.waits, True
        if first and self._by_itself:
            self._write_later()

    def flush(self, *, last: bool = False) -> bool:
        """Write what was added so far; ``False`` if that failed, and the numbers are dropped."""
        state = self._state()
        if not state.writing.acquire(timeout=LAST_SECONDS if last else -1):
            return False
        try:
            with state.lock:
                numbers, state.numbers = state.numbers, Counter()
                state.waits = False
            return not numbers or self._write(numbers, last)
        finally:
            state.writing.release()

    def _state(self) -> _State:
        """Return the state of this process. A forked child needs its own, because an inherited lock may never be
        released.
        """
        return self._states.get(os.getpid()) or self._states.setdefault(os.getpid(), _State())

    def _write_later(self) -> None:
        _write_at_exit(self)
        timer = threading.Timer(self._every, self.flush)
        timer.daemon = True
        with suppress(RuntimeError):  # while the interpreter ends, no thread starts; the numbers are written at exit
            timer.start()


class _State:
    def __init__(self) -> None:
        self.numbers: Counter[Hashable] = Counter()
        self.lock = threading.RLock()  # a signal handler may count, too
        self.writing = threading.Lock()
        self.waits = False


def writes_by_itself(clock: Clock) -> bool:
    """Return whether numbers under this clock are written without `Pending.flush`."""
    return clock is system_clock


def write_all() -> None:
    """Write everything that this process has pending, as it ends; at the first failure the rest is dropped."""
    for pending in list(_by_process.pop(os.getpid(), ())):
        if not pending.flush(last=True):
            return


def _write_at_exit(pending: Pending) -> None:
    """Write at the end of this process, in children of `multiprocessing` as well, which skip ``atexit``."""
    known = _by_process.get(os.getpid())
    if known is None:
        known = _by_process.setdefault(os.getpid(), set())
        atexit.unregister(write_all)  # a forked child inherited it
        atexit.register(write_all)
        if (forking := sys.modules.get("multiprocessing.util")) is not None:
            forking.Finalize(None, write_all, exitpriority=0)
    known.add(pending)
