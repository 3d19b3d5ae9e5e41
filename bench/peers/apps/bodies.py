"""Bodies of every peer: one that does nothing, and one that records its start and its end."""

from __future__ import annotations

import os
import time
from pathlib import Path


def nothing(number: int) -> None:
    """Do nothing."""


def work(name: str, seconds: float) -> str:
    """Work for some seconds; write a line to the evidence file at the start and at the end."""
    _note("start", name)
    time.sleep(seconds)
    _note("end", name)
    return f"{name} done"


def _note(what: str, name: str) -> None:
    line = f"{what} {name} {os.getpid()} {time.time():.3f}\n".encode()
    file = os.open(Path(os.environ["BENCH_EVIDENCE"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line)  # one write: lines of several processes never interleave
    finally:
        os.close(file)
