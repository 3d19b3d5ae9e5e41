"""Records and columns of dead letters, their groups, counts and audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jobclaim.cli.output import Column
from jobclaim.views.humane import clock_time, relative


def COLUMNS(now: int) -> list[Column]:  # noqa: N802 - a constant, except that it depends on the time
    """Return the columns of a list of dead letters."""
    return [
        Column("job", lambda row: str(row["job_id"])),
        Column("task", lambda row: str(row["task"])),
        Column("state", lambda row: str(row["dead_state"] or "WAITING"), fold=False, rank=2),
        Column("failed", lambda row: relative(row["finished_at_ms"] or 0, now), fold=False, rank=3),
        Column("next retry", lambda row: relative(row["retry_at_ms"] or 0, now), fold=False, rank=4),
        Column("kind", lambda row: _failure(row, "kind"), "red", fold=False, rank=1),
        Column("exception", lambda row: _failure(row, "exception")),
        Column("fingerprint", lambda row: _failure(row, "fingerprint"), fold=False, rank=6),
        Column("message", lambda row: _failure(row, "message")[:80], rank=5),
    ]


def GROUP_COLUMNS(now: int) -> list[Column]:  # noqa: N802
    """Return the columns of a list of groups."""
    return [
        Column("jobs", lambda row: str(row["count"]), "bold", fold=False),
        Column("fingerprint", lambda row: row["fingerprint"] or "-", fold=False),
        Column("kind", lambda row: str(row["kind"]), "red", fold=False, rank=2),
        Column("exception", lambda row: row["exception"] or "-"),
        Column("where", lambda row: row["where"] or "-", rank=4),
        Column("task", lambda row: str(row["task"])),
        Column("first", lambda row: relative(row["first_at_ms"], now), fold=False, rank=3),
        Column("last", lambda row: relative(row["last_at_ms"], now), fold=False, rank=1),
        Column("message", lambda row: str(row["message"])[:80], rank=5),
    ]


STAT_COLUMNS: Final = [
    Column("by", lambda row: str(row["by"]), fold=False),
    Column("value", lambda row: str(row["value"])),
    Column("jobs", lambda row: str(row["count"]), "bold", fold=False),
]
AUDIT_COLUMNS: Final = [
    Column("when", lambda row: clock_time(row["at_ms"]), fold=False),
    Column("by", lambda row: str(row["by"])),
    Column("aws", lambda row: str(row["arn"] or "-").rsplit(":", 1)[-1], rank=2),
    Column("verb", lambda row: str(row["verb"]), "bold", fold=False),
    Column("done", lambda row: "not ended" if row["done"] is None else str(row["done"]), fold=False, rank=1),
    Column("refused", lambda row: str(row["refused"] or 0), fold=False, rank=3),
    Column("what", lambda row: str(row["what"])),
    Column("why", lambda row: str(row["why"])),
]


def _failure(row: Mapping[str, Any], name: str) -> str:
    return str((row["failure"] or {}).get(name) or "-")
