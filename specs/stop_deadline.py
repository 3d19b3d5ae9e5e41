"""The deadline of one stop, for a stop that has more or less time than ``stop_timeout_seconds``.

The command that stops a worker of this machine writes the deadline into a file beside the worker's pid file, then sends
SIGTERM; the worker reads it once, when it begins to stop. A worker that starts removes what an earlier stop has left.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def path_of(folder: Path, worker: str) -> Path:
    """Return the file of a worker."""
    return folder / f"{worker}.stop-by"


def write(path: Path, at: float) -> None:
    """Set the deadline, epoch seconds. A new file is made, so that a link in its place is never followed."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, FLAGS, 0o644), "w") as file:
        file.write(f"{at:.3f}\n")


def read(path: Path) -> float | None:
    """Return the deadline, epoch seconds; ``None`` if there is none or it cannot be read."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None


def drain_seconds(deadline: float | None, now: float, *, usual: float, reserved: float) -> float:
    """Return for how long running jobs may continue.

    Parameters
    ----------
    deadline : float or None
        When the process will be killed, epoch seconds; ``None`` for the usual time.
    usual : float
        Seconds that jobs get without a deadline.
    reserved : float
        Seconds at the end for releasing what still runs.
    """
    return usual if deadline is None else max(0.0, deadline - now - reserved)
