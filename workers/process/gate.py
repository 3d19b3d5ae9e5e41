"""Whether this worker may take jobs: only while the fleet knows that it lives.

Recovery takes a worker for dead that was silent for `Settings.worker_dead_after_seconds`, and settles its jobs. So a
worker that cannot write its heartbeat must stop claiming before that. The gate opens for a while with every heartbeat
and closes by itself: a process that was frozen meanwhile finds it closed without anybody having had to act.
"""

from __future__ import annotations

import time

from jobclaim.workers.process import board

# time that goes on while the machine is suspended, the same for all its processes
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds of the gate's own clock."""
    return time.clock_gettime(_CLOCK)


def open(until: float) -> None:  # noqa: A001 - one opens a gate
    """Let claims be made up to a time of `now`."""
    if known := board.current():
        known.open_until = until


def close() -> None:
    """Let no claim be made until `open` is called again."""
    open(0.0)


def is_open() -> bool:
    """Whether a claim may be made now; always, outside a worker."""
    known = board.current()
    return known is None or now() < known.open_until
