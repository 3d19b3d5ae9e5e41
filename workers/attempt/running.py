"""The attempt that runs in this thread of a thread pool: its time limits, which no signal can deliver.

A child of a prefork pool gets the soft limit as an exception and is killed at the hard one. A thread can be neither
interrupted nor ended from outside, so its body checks (`jobclaim.workers.attempt.checking`), and the worker's heartbeat
vouches for it past its lease (`is_vouched_for`).
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from jobclaim.workers.state import worker

WRITING_MS: Final = 60_000
"""How long an attempt past its lease, for which its worker vouches, tries to record its outcome."""


@dataclass(slots=True)
class ThreadAttempt:
    """An attempt that runs in a thread.

    Attributes
    ----------
    soft_at : float, optional
        When its soft limit is reached, by ``time.monotonic()``; ``None`` for never.
    soft_limit : float, optional
        The soft limit, seconds.
    """

    soft_at: float | None = None
    soft_limit: float | None = None
    _reported: bool = field(default=False, init=False)

    def report_limit(self) -> bool:
        """Return whether the soft limit is reached and not reported yet; from then on it counts as reported."""
        if self._reported or self.soft_at is None or time.monotonic() < self.soft_at:
            return False
        self._reported = True
        return True


_running: ContextVar[ThreadAttempt | None] = ContextVar("running", default=None)


def enter(soft_limit: float | None) -> None:
    """Begin an attempt in this thread."""
    _running.set(ThreadAttempt(None if soft_limit is None else time.monotonic() + soft_limit, soft_limit))


def leave() -> None:
    """End the attempt of this thread."""
    _running.set(None)


def current() -> ThreadAttempt | None:
    """Return the attempt that this code is part of; ``None`` outside a pool of threads."""
    return _running.get()


def is_vouched_for() -> bool:
    """Return whether the worker's heartbeat names this attempt and is written, so that recovery leaves it alone."""
    return _running.get() is not None and worker.current().may_claim()


def write_until(lease_expires_at: int, now: int) -> int:
    """Return until when recording this attempt's outcome is tried, epoch milliseconds."""
    return max(lease_expires_at, now + WRITING_MS) if is_vouched_for() else lease_expires_at
