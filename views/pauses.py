"""Pauses for people: their record, and a sentence about each."""

from __future__ import annotations

from typing import Any

from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.storage.pauses import Pause, PauseKind, Pauses
from jobclaim.views.humane import clock_time, iso, relative


def pause_record(pause: Pause, now: int) -> dict[str, Any]:
    """Return the JSON record of a pause, in force or ended; ``until`` is ``null`` until a person ends it."""
    return {
        "kind": str(pause.kind),
        "name": pause.name,
        "active": pause.is_active(now),
        "by": pause.by,
        "reason": pause.reason,
        "since": iso(pause.since),
        "since_ms": pause.since,
        "until": iso(pause.until),
        "until_ms": pause.until or None,
        "ended_by": pause.ended_by or None,
    }


def holding_record(job: Job, pauses: Pauses, now: int) -> dict[str, Any] | None:
    """Return the record of the pause that holds a job; ``None`` for a job that is not waiting or not held."""
    pause = pauses.holding(job, now) if job.status is JobStatus.PENDING else None
    return pause_record(pause, now) if pause else None


def active_record(pauses: Pauses, kind: PauseKind, name: str, now: int) -> dict[str, Any] | None:
    """Return the record of the pause of a queue, task or schedule; ``None`` if it is not paused."""
    pause = pauses.of(kind, name, now)
    return pause_record(pause, now) if pause else None


def pause_in_words(pause: Pause, now: int) -> str:
    """Say what is paused, by whom, until when and why."""
    end = f"until {clock_time(pause.until)} ({relative(pause.until, now)})" if pause.until else "until it is unpaused"
    return f"{pause.subject} is paused by {pause.by} {end}: {pause.reason}"
