"""Read the evidence of a run: lines of the bodies, and log lines of the workers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jobclaim.verify.checks import Start

COUNTED_EVENTS: Final = {
    "claim.refused": "duplicates refused",
    "claim.lost": "zombies refused",
    "claim.answered_late": "zombies refused",
    "job.retry_dropped": "zombies refused",
    "job.release_refused": "zombies refused",
    "job.interrupted": "children lost, job tried again",
    "job.dispatched": "messages sent again by recovery",
    "message.not_sent": "messages left to recovery",
    "lost_worker.recovered": "lost workers recovered",
    "dead_letter.retried": "dead letters retried",
    "job.released": "jobs released at a deploy",
    "heartbeat.failed": "heartbeats missed",
}
"""What log lines are counted as."""
FIELDS: Final = 7
"""Of a line of evidence: what, when, job, attempt, token, process, task."""


@dataclass
class Logs:
    """What the log lines of all processes show.

    Attributes
    ----------
    lines : int
    event_counts : Counter
        Number of lines by what they report.
    lost_claims : list of pair
        Job and attempt of each claim whose owner received `ClaimLost`.
    secrets : list of str
        Beginnings of the lines that contain the secret argument.
    """

    lines: int = 0
    event_counts: Counter[str] = field(default_factory=Counter)
    lost_claims: list[tuple[str, int]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)


def bodies(path: Path, what: str) -> list[Start]:
    """Read the bodies' own lines: those written at the start (``start``) or at a normal end (``end``)."""
    rows = (line.split() for line in path.read_text().splitlines()) if path.exists() else iter(())
    return [
        Start(row[2], int(row[3]), row[4], int(row[1]), row[6]) for row in rows if len(row) == FIELDS and row[0] == what
    ]


def read_logs(paths: Iterable[Path], secret: str) -> Logs:
    """Read the logs of all processes."""
    logs = Logs()
    for line in _lines(paths):
        logs.lines += 1
        if secret in line:
            logs.secrets.append(line[:200])
        if (event := _event(line)) is None:
            continue
        name = str(event.get("event"))
        if name in COUNTED_EVENTS:
            logs.event_counts[COUNTED_EVENTS[name]] += 1
        if name == "claim.lost":
            logs.lost_claims.append((str(event.get("job_id")), int(event.get("attempt") or 0)))
    return logs


def _lines(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        with path.open(errors="replace") as lines:
            yield from lines


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None  # half a line of a killed process
    return event if isinstance(event, dict) else None
