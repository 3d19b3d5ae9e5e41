"""A job as the command line shows it: one JSON schema and one set of columns.

Schema of a job
---------------
Every time is there twice: ``created_at`` as ISO 8601 in UTC with milliseconds, which people read and which sorts as
text, and ``created_at_ms`` as epoch milliseconds, which programs compute with. Both are ``null`` where it has not
happened. All fields are always there. ``payload`` is
``{"redacted": true, "bytes": n}`` unless ``--payload`` is given. A claim's token is a capability and is never shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cli.humane import iso, relative, span
from cli.output import Column, Record

if TYPE_CHECKING:
    from jobs import Attempt, Failure, Job

TIMES: Final = (
    "created_at",
    "available_at",
    "start_by",
    "dispatched_at",
    "claimed_at",
    "lease_expires_at",
    "finished_at",
    "retry_at",
)
STYLES: Final = {
    "PENDING": "yellow",
    "PROCESSING": "cyan",
    "COMPLETED": "green",
    "FAILED": "bold red",
    "CANCELLED": "dim",
}


def job_record(job: Job, *, payload: bool = False) -> dict[str, Any]:
    """Make the JSON record of a job; the payload only where it was asked for."""
    return {
        "job_id": job.job_id,
        "task": job.task,
        "queue": job.queue,
        "status": str(job.status),
        "attempt": job.attempt,
        "charged": job.charged,
        "max_attempts": job.max_attempts,
        **_times({name: getattr(job, name) for name in TIMES}),
        **_times({"expires_at": job.expires_at * 1000}),
        "worker_id": job.worker_id or None,
        "celery_task_id": job.celery_task_id or None,
        "idempotency_key": job.idempotency_key or None,
        "on_orphan": job.on_orphan,
        "dispatches": job.dispatches,
        "payload": job.payload if payload else redacted(job.payload),
        "result": job.result,
        "failure": failure_record(job.failure),
        "dead_state": job.dead_state or None,
        "dead_retries": job.dead_retries,
        "decisions": [
            {"verb": decision.verb, "by": decision.by, "why": decision.why, **_times({"at": decision.at})}
            for decision in job.decisions
        ],
        "history": [attempt_record(attempt) for attempt in job.history],
    }


def failure_record(failure: Failure | None) -> dict[str, Any] | None:
    """Make the JSON record of a failure."""
    if failure is None:
        return None
    return {
        "kind": str(failure.kind),
        "exception": failure.exception or None,
        "message": failure.message,
        "traceback": failure.traceback or None,
        "where": failure.where or None,
        "fingerprint": failure.fingerprint or None,
        **_times({"at": failure.at}),
    }


def attempt_record(attempt: Attempt) -> dict[str, Any]:
    """Make the JSON record of an ended attempt."""
    return {
        "attempt": attempt.attempt,
        "outcome": attempt.outcome,
        "worker_id": attempt.worker_id or None,
        **_times({name: getattr(attempt, name) for name in ("claimed_at", "lease_expires_at", "ended_at")}),
        "failure": failure_record(attempt.failure),
    }


def redacted(payload: Any) -> dict[str, Any]:
    """Stand for a payload that is not shown."""
    from jobs import codec

    return {"redacted": True, "bytes": len(codec.encode(payload).encode())}


def columns(now: int, *, payload: bool = False) -> list[Column]:
    """Choose the columns of a table of jobs, as seen at ``now`` (epoch milliseconds)."""
    shown = [
        Column("job", lambda row: str(row["job_id"])),
        Column("status", lambda row: str(row["status"]), lambda row: STYLES[row["status"]], fold=False),
        Column("task", lambda row: str(row["task"])),
        Column("queue", lambda row: str(row["queue"])),
        Column("attempt", lambda row: f"{row['attempt']} of {row['max_attempts']}", fold=False),
        Column("created", lambda row: relative(row["created_at_ms"] or 0, now), "dim"),
        Column("", lambda row: remark_on(row, now), "dim"),
    ]
    return [*shown, Column("payload", lambda row: compact(row["payload"]))] if payload else shown


def remark_on(row: Record, now: int) -> str:
    """Say in a few words what matters most about a job in its state."""
    if row["status"] == "PENDING":
        due = row["available_at_ms"]
        return f"due {relative(due, now)}" if due > now else f"waiting for {span(now - due)}"
    if row["status"] == "PROCESSING":
        left = row["lease_expires_at_ms"] - now
        return f"lease ends in {span(left)}" if left > 0 else f"orphan: lease over for {span(-left)}"
    if row["failure"]:
        return f"{row['failure']['kind']}: {row['failure']['message']}"[:80]
    if row["finished_at_ms"] and row["claimed_at_ms"]:
        return f"took {span(row['finished_at_ms'] - row['claimed_at_ms'])}"
    return ""


def compact(value: Any) -> str:
    """Write a JSON value on one line."""
    import json

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _times(moments: dict[str, int]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, at in moments.items():
        shown[name] = iso(at)
        shown[f"{name}_ms"] = at or None
    return shown
