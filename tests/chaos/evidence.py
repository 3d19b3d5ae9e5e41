"""Reads what a run left: lines of the bodies, log lines of the workers, jobs in the table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from tests.chaos.verdict import Start

TOLD: Final = {
    "claim.refused": "duplicates refused",
    "claim.lost": "zombies refused",
    "claim.answered_late": "zombies refused",
    "job.retry_dropped": "zombies refused",
    "job.release_refused": "zombies refused",
    "job.interrupted": "children lost, job tried again",
    "job.dispatched": "messages sent again by recovery",
    "message.not_sent": "messages left to recovery",
    "lost_worker.recovered": "dead workers settled",
    "dead_letter.retried": "dead letters retried",
    "job.released": "jobs given back at a deploy",
    "heartbeat.failed": "heartbeats missed",
}
"""What log lines are counted as."""


def starts(path: Path) -> list[Start]:
    """Read the bodies' own lines."""
    rows = (line.split() for line in path.read_text().splitlines()) if path.exists() else iter(())
    return [Start(row[0], int(row[1]), row[2]) for row in rows]


def told(logs: Iterable[Path]) -> Counter[str]:
    """Count what the log lines of all processes tell."""
    found: Counter[str] = Counter()
    for event in _events(logs):
        if (name := TOLD.get(str(event.get("event")))) is not None:
            found[name] += 1
        if event.get("event") == "recovery.pass_completed":
            for count in ("orphaned", "retried", "refused"):
                found[f"recovery: {count}"] += int(event.get(count, 0))
    return found


def _events(logs: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in logs:
        with path.open(errors="replace") as lines:
            for line in lines:
                if line.startswith("{"):
                    try:
                        yield json.loads(line)
                    except ValueError:
                        continue  # cut off by a kill
