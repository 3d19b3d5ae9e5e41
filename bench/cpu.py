"""CPU time of a process and of its children, from Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def seconds(pid: int) -> float:
    """Return the user and system time of one process."""
    return _fields(pid)[1]


def seconds_of_children(pid: int) -> float:
    """Return the user and system time of its child processes that still run."""
    numbers = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    found = (_fields(number) for number in numbers)
    return sum(spent for parent, spent in found if parent == pid)


def _fields(pid: int) -> tuple[int, float]:
    """Read parent and CPU seconds; none for a process that has ended meanwhile."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0, 0.0
    after_name = text.rpartition(")")[2].split()
    return int(after_name[1]), (int(after_name[11]) + int(after_name[12])) / TICKS_PER_SECOND
