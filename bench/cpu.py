"""CPU time and memory of a process and of its children, from Linux's /proc."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def seconds(pid: int) -> float:
    """Return the user and system time of one process."""
    return _fields(pid)[1]


def seconds_of_children(pid: int) -> float:
    """Return the user and system time of its child processes, those that have ended among them."""
    return _fields(pid)[2] + sum(seconds(child) for child in children(pid))


def children(pid: int) -> list[int]:
    """Return the ids of its child processes."""
    numbers = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [number for number in numbers if _fields(number)[0] == pid]


def busy_share(over_seconds: float = 2.0) -> float:
    """Return the share of all cores that is busy with anything, while this process sleeps."""
    total, idle = _spent()
    time.sleep(over_seconds)
    total_after, idle_after = _spent()
    return 1 - (idle_after - idle) / (total_after - total)


def megabytes(pid: int) -> tuple[float, float]:
    """Return resident memory, and the proportional part of it: a page that n processes share counts 1/n."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(size) / 1024 for name, size in re.findall(r"^(Rss|Pss): +(\d+) kB", text, re.MULTILINE)}
    return found["Rss"], found["Pss"]


def _fields(pid: int) -> tuple[int, float, float]:
    """Read parent, CPU seconds, and those of its ended children; zeros for a process that has ended meanwhile."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0, 0.0, 0.0
    after_name = text.rpartition(")")[2].split()
    user, system, of_children, system_of_children = (int(ticks) / TICKS_PER_SECOND for ticks in after_name[11:15])
    return int(after_name[1]), user + system, of_children + system_of_children


def _spent() -> tuple[int, int]:
    """Read the ticks of all cores so far, and those of them that were idle or waited for a disk."""
    ticks = [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return sum(ticks[:8]), ticks[3] + ticks[4]
