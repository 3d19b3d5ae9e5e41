"""Columns of a table of jobs."""

from __future__ import annotations

from typing import Final

from jobclaim.cli.output import Column
from jobclaim.views.holds import charged_in_words
from jobclaim.views.humane import relative
from jobclaim.views.records import compact, remark_on

STYLES: Final = {
    "PENDING": "yellow",
    "PROCESSING": "cyan",
    "COMPLETED": "green",
    "FAILED": "bold red",
    "CANCELLED": "dim",
}


def columns(now: int, *, payload: bool = False) -> list[Column]:
    """Return the columns of a table of jobs, as of ``now`` (epoch milliseconds)."""
    shown = [
        Column("job", lambda row: str(row["job_id"])),
        Column("status", lambda row: str(row["status"]), lambda row: STYLES[row["status"]], fold=False),
        Column("task", lambda row: str(row["task"])),
        Column("queue", lambda row: str(row["queue"]), rank=1),
        Column("charged", lambda row: charged_in_words(row["charged"], row["max_attempts"]), fold=False, rank=2),
        Column("created", lambda row: relative(row["created_at_ms"] or 0, now), "dim", rank=3),
        Column("now", lambda row: remark_on(row, now), "dim"),
    ]
    return [*shown, Column("payload", lambda row: compact(row["payload"]))] if payload else shown
