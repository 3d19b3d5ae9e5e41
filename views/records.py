"""Jobs, dead letters, workers and the audit trail as JSON: one schema for `-o json` and for the dashboard's API.

Schema of a job
---------------
Every time has two fields: ``created_at`` is ISO 8601 in UTC with milliseconds, to be read and sorted as text, and
``created_at_ms`` is epoch milliseconds, for computing. Both are ``null`` for what has not happened. All fields are
always present. ``payload`` is ``{"redacted": true, "bytes": n}`` unless it was requested. A claim token is a capability
and is never shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from jobclaim.views.holds import held_in_words, release_record
from jobclaim.views.humane import iso, relative, span, times
from jobclaim.views.lasting import lasting_record, number, waits_in_words

if TYPE_CHECKING:
    from jobclaim.fleet.audit import AuditEntry
    from jobclaim.fleet.workers import WorkerRecord
    from jobclaim.jobs import Attempt, Failure, Job
    from jobclaim.jobs.storage.edits import Edited
    from jobclaim.recovery.dead import Group
    from jobclaim.recovery.dead.healing import Healing

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


def job_record(job: Job, *, payload: bool = False) -> dict[str, Any]:
    """Build the JSON record of a job; include the payload only if it was requested."""
    from jobclaim.jobs.encoding import codec
    from jobclaim.jobs.protocol import releases

    return {
        "job_id": job.job_id,
        "task": job.task,
        "queue": job.queue,
        "status": str(job.status),
        "attempt": job.attempt,
        "charged": job.charged,
        "max_attempts": job.max_attempts,
        **times({name: getattr(job, name) for name in TIMES}),
        **times({"expires_at": job.expires_at * 1000}),
        "worker_id": job.worker_id or None,
        "celery_task_id": job.celery_task_id or None,
        "idempotency_key": job.idempotency_key or None,
        "tags": list(job.tags),
        "on_orphan": job.on_orphan,
        "dispatches": job.dispatches,
        "payload": codec.plain(job.payload) if payload else redacted(job.payload),
        "result": codec.plain(job.result),
        "failure": failure_record(releases.last_failure(job)),
        "released": release_record(releases.current(job)),
        "dead_state": job.dead_state or None,
        "dead_retries": job.dead_retries,
        "decisions": [
            {"verb": decision.verb, "by": decision.by, "why": decision.why, **times({"at": decision.at})}
            for decision in job.decisions
        ],
        "history": [attempt_record(attempt) for attempt in job.history],
        **lasting_record(job, payload=payload),
    }


def edits_record(edited: Edited) -> dict[str, Any]:
    """Build the fields of a job's JSON record about its edited retries."""
    return {"edited_from": edited.edited_from or None, "edited_as": list(edited.edited_as)}


def failure_record(failure: Failure | None) -> dict[str, Any] | None:
    """Build the JSON record of a failure."""
    if failure is None:
        return None
    return {
        "kind": str(failure.kind),
        "exception": failure.exception or None,
        "message": failure.message,
        "traceback": failure.traceback or None,
        "where": failure.where or None,
        "fingerprint": failure.fingerprint or None,
        **times({"at": failure.at}),
    }


def attempt_record(attempt: Attempt) -> dict[str, Any]:
    """Build the JSON record of an ended attempt."""
    from jobclaim.jobs.protocol import releases

    released = releases.of_attempt(attempt)
    return {
        "attempt": attempt.attempt,
        "outcome": attempt.outcome,
        "worker_id": attempt.worker_id or None,
        **times({name: getattr(attempt, name) for name in ("claimed_at", "lease_expires_at", "ended_at")}),
        "failure": None if released else failure_record(attempt.failure),
        "released": release_record(released),
    }


def group_record(group: Group) -> dict[str, Any]:
    """Build the JSON record of a group."""
    return {
        "fingerprint": group.fingerprint,
        "count": group.count,
        "kind": group.kind,
        "exception": group.exception or None,
        "where": group.where or None,
        "task": group.task,
        "first_at": iso(group.first_at),
        "first_at_ms": group.first_at,
        "last_at": iso(group.last_at),
        "last_at_ms": group.last_at,
        "sample": group.sample,
        "message": group.message,
    }


def stat_records(counts: Mapping[str, Counter[str]]) -> list[dict[str, Any]]:
    """Build the JSON records of counts: windows in order of time, all others largest first."""
    rows = []
    for by, counter in counts.items():
        pairs = sorted(counter.items()) if by == "window" else counter.most_common()
        rows += [{"by": by, "value": iso(int(v)) if by == "window" else str(v), "count": n} for v, n in pairs]
    return rows


def healing_records(healed: Healing) -> list[dict[str, Any]]:
    """Build the JSON records of the automatic retries of dead letters; none if no retry has ended."""
    if healed.rate is None:
        return []
    counts = {"completed": healed.healed, "failed": healed.failed_again, "percent completed": round(100 * healed.rate)}
    return [{"by": "automatic retries", "value": value, "count": count} for value, count in counts.items()]


def audit_record(entry: AuditEntry) -> dict[str, Any]:
    """Build the JSON record of an entry of the audit trail."""
    return {
        "at": iso(entry.at),
        "at_ms": entry.at,
        "verb": entry.verb,
        "by": entry.by,
        "face": entry.face or None,
        "arn": entry.arn or None,
        "user_id": entry.user_id or None,
        "why": entry.why,
        "what": entry.what,
        "done": entry.done,
        "refused": entry.refused,
    }


def worker_record(
    record: WorkerRecord, now: int, dead_after_seconds: int, known: Mapping[str, Job] | None = None
) -> dict[str, Any]:
    """Build the JSON record of a worker; only its jobs that are ``known`` have a task and a duration."""
    return {
        "worker_id": record.worker_id,
        "state": record.state(now, dead_after_seconds),
        "seen_at_ms": record.seen_at,
        "silence_ms": now - record.seen_at,
        "started_at_ms": record.started_at,
        "host": record.host,
        "pid": record.pid,
        "version": record.version,
        "digest": record.digest or None,
        "concurrency": record.concurrency,
        "queues": list(record.queues),
        "jobs": [_running(job_id, (known or {}).get(job_id), now) for job_id in record.jobs],
    }


def _running(job_id: str, job: Job | None, now: int) -> dict[str, Any]:
    if job is None:
        return {"job_id": job_id}
    return {"job_id": job_id, "task": job.task, "attempt": job.attempt, "running_ms": max(0, now - job.claimed_at)}


def redacted(payload: Any) -> dict[str, Any]:
    """Return the placeholder of a payload that is not shown."""
    from jobclaim.jobs.encoding import codec

    return {"redacted": True, "bytes": len(codec.encode(payload).encode())}


def remark_on(row: Mapping[str, Any], now: int) -> str:
    """Summarize in a few words what matters most about a job in its state."""
    if row["waits_for"]:
        return waits_in_words(row["waits_for"], row["waits_since_ms"], row["waits_until_ms"], now)
    if row["status"] == "PENDING":
        due, held = row["available_at_ms"], row["released"]
        due_text = f"due {relative(due, now)}" if due > now else f"waiting for {span(now - due)}"
        return f"{held_in_words(held['held'])}, {due_text}" if held else due_text
    if row["status"] == "PROCESSING":
        if (progress := row["progress"]) and progress["attempt"] == row["attempt"] and progress["done"] is not None:
            done = (
                f"{progress['share']:.0%} of {number(progress['total'])}"
                if progress["share"] is not None
                else number(progress["done"])
            )
            return f"{done} done"
        left = row["lease_expires_at_ms"] - now
        return f"lease ends in {span(left)}" if left > 0 else f"orphan: lease ended {span(-left)} ago"
    if row["failure"]:
        failure = row["failure"]
        what = f"{failure['kind']} {(failure['exception'] or '').rpartition('.')[2]}".rstrip()
        return f"{what}: {failure['message']}"[:80]
    if row["finished_at_ms"] and row["claimed_at_ms"]:
        return f"took {span(row['finished_at_ms'] - row['claimed_at_ms'])}"
    return ""


def compact(value: Any) -> str:
    """Write a JSON value on one line."""
    import json

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
