"""JSON Schemas of the records in `jobclaim.views.records`: the contract of `-o json` and of the dashboard's API.

Every field is always present; what has not happened is ``null``. Fields may be added, but are renamed or removed only
in a new major version.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from jobclaim.jobs import FailureKind, JobStatus
from jobclaim.jobs.model import DeadState
from jobclaim.views.records import TIMES

Schema: TypeAlias = dict[str, Any]

STRING: Final[Schema] = {"type": "string"}
INTEGER: Final[Schema] = {"type": "integer"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
ANYTHING: Final[Schema] = {"description": "Any JSON value; what is hidden is masked."}


def record(properties: Schema, description: str) -> Schema:
    """Return the schema of a record that has exactly these fields."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def maybe(schema: Schema) -> Schema:
    """Return a schema that also allows ``null``."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def times(*names: str) -> Schema:
    """Return the two fields of each time: ISO 8601 in UTC, and epoch milliseconds."""
    found: Schema = {}
    for name in names:
        found[name] = {"type": ["string", "null"], "format": "date-time"}
        found[f"{name}_ms"] = {"type": ["integer", "null"], "description": "Epoch milliseconds."}
    return found


def one_of(words: Any) -> Schema:
    """Return the schema of an enumeration of strings."""
    return {"type": "string", "enum": [str(word) for word in words]}


FAILURE: Final = record(
    {
        "kind": one_of(FailureKind),
        "exception": maybe(STRING),
        "message": STRING,
        "traceback": maybe(STRING),
        "where": maybe(STRING),
        "fingerprint": maybe(STRING),
        **times("at"),
    },
    "What went wrong in an attempt.",
)
RELEASE: Final = record(
    {
        "held": maybe(STRING) | {"description": "What holds the job; null in what an older release wrote."},
        "reason": STRING,
        **times("at"),
    },
    "Why a job waits again although no attempt failed; such an attempt is not charged.",
)
ATTEMPT: Final = record(
    {
        "attempt": COUNT,
        "outcome": STRING,
        "worker_id": maybe(STRING),
        **times("claimed_at", "lease_expires_at", "ended_at"),
        "failure": maybe(FAILURE),
        "released": maybe(RELEASE),
    },
    "An ended attempt that was not a plain success, with the evidence of its claim.",
)
DECISION: Final = record(
    {"verb": STRING, "by": STRING, "why": STRING, **times("at")}, "A person's or recovery's decision on a failed job."
)
PROGRESS: Final = record(
    {
        "state": STRING,
        "done": maybe(NUMBER),
        "total": maybe(NUMBER),
        "share": maybe(NUMBER) | {"description": "From 0 to 1."},
        "rate": maybe(NUMBER) | {"description": "Units a second since the attempt's first report."},
        "message": STRING,
        "attempt": COUNT,
        **times("at"),
    },
    "Progress of an attempt, as last reported.",
)
STEP: Final = record(
    {"name": STRING, "function": STRING, "attempt": COUNT, "took_ms": COUNT, **times("at")},
    "A finished step, which no later attempt runs again.",
)
EFFECTS: Final = record(
    {"count": COUNT, "first": many(record({"kind": STRING, "table": STRING, "key": STRING}, "One write."))},
    "Writes that were made with the job's completion; the first five are named.",
)
WAIT: Final = record(
    {
        "name": STRING,
        **times("since", "until", "resumed_at"),
        "by": maybe(STRING),
        "timed_out": BOOLEAN,
    },
    "A wait of the job: its name, its deadline and its resume.",
)
JOB: Final = record(
    {
        "job_id": STRING,
        "task": STRING,
        "queue": STRING,
        "status": one_of(JobStatus),
        "attempt": COUNT,
        "charged": COUNT,
        "max_attempts": COUNT,
        **times(*TIMES, "expires_at"),
        "worker_id": maybe(STRING),
        "celery_task_id": maybe(STRING),
        "idempotency_key": maybe(STRING),
        "tags": many(STRING),
        "on_orphan": one_of(("fail", "retry")),
        "dispatches": COUNT,
        "payload": ANYTHING,
        "result": ANYTHING,
        "failure": maybe(FAILURE),
        "released": maybe(RELEASE) | {"description": "What holds it; null if it does not wait after a release."},
        "dead_state": maybe(one_of(DeadState)),
        "dead_retries": COUNT,
        "decisions": many(DECISION),
        "history": many(ATTEMPT),
        "waits_for": maybe(STRING)
        | {"description": "The wait for which the job has no worker; null if it does not wait."},
        **times("waits_since", "waits_until"),
        "progress": maybe(PROGRESS),
        "checkpoint": ANYTHING,
        "steps": many(STEP),
        "waits": many(WAIT),
        "effects": maybe(EFFECTS),
    },
    "A job.",
)
GROUP: Final = record(
    {
        "fingerprint": STRING,
        "count": COUNT,
        "kind": STRING,
        "exception": maybe(STRING),
        "where": maybe(STRING),
        "task": STRING,
        **times("first_at", "last_at"),
        "sample": STRING,
        "message": STRING,
    },
    "Dead letters with the same fingerprint.",
)
RUNNING: Final[Schema] = {
    "type": "object",
    "description": "A job that a worker runs; fields other than its id only if the jobs were read too.",
    "properties": {"job_id": STRING, "task": STRING, "attempt": COUNT, "running_ms": COUNT},
    "required": ["job_id"],
    "additionalProperties": False,
}
WORKER: Final = record(
    {
        "worker_id": STRING,
        "state": one_of(("alive", "stopping", "dead")),
        "seen_at_ms": INTEGER,
        "silence_ms": INTEGER,
        "started_at_ms": INTEGER,
        "host": STRING,
        "pid": COUNT,
        "version": STRING,
        "digest": maybe(STRING) | {"description": "Digest of its settings; null in the record of an older release."},
        "concurrency": COUNT,
        "queues": many(STRING),
        "jobs": many(RUNNING),
    },
    "A worker, as of its last heartbeat.",
)
QUEUE: Final = record(
    {
        "queue": STRING,
        "priority": INTEGER,
        "sla_seconds": NUMBER,
        "visible": maybe(COUNT),
        "in_flight": maybe(COUNT),
        "delayed": maybe(COUNT),
        "dead_letters": maybe(COUNT),
        "waiting": COUNT,
        "running": COUNT,
        "later": COUNT,
        "more": BOOLEAN,
        "oldest_waiting_seconds": NUMBER,
        "sla_burn": NUMBER,
    },
    "A queue: its approximate number of messages in SQS, and its oldest open jobs; `more` says whether there are "
    "others.",
)
AUDIT: Final = record(
    {
        "at": STRING,
        "at_ms": INTEGER,
        "verb": STRING,
        "by": STRING | {"description": "Name that the person gave; not verified."},
        "face": maybe(STRING) | {"description": "cli, dashboard, api or python."},
        "arn": maybe(STRING) | {"description": "AWS identity whose credentials were used, from STS."},
        "user_id": maybe(STRING)
        | {"description": "AWS's unique id of that identity; policies protect it from forgery."},
        "why": STRING,
        "what": STRING,
        "done": maybe(COUNT),
        "refused": maybe(COUNT),
    },
    "An entry of the audit trail.",
)
SHARE: Final = maybe(NUMBER) | {"description": "From 0 to 1."}
FIGURES: Final[Schema] = {
    "runs": COUNT | {"description": "Attempts that completed or failed."},
    "completed": COUNT,
    "failed": COUNT | {"description": "Runs that ended their job as FAILED."},
    "retried": COUNT | {"description": "Failed runs that another attempt follows."},
    "cancelled": COUNT,
    "failure_rate": SHARE,
    **{
        f"{what}{share}_ms": maybe(COUNT) | {"description": "At most 17 % off."}
        for what in ("", "wait_")
        for share in ("p50", "p95")
    },
    "retry_success": SHARE | {"description": "Of the jobs that failed at least once, the share that completed."},
    "healed": COUNT | {"description": "Dead letters that completed by an automatic retry."},
    "failed_again": COUNT,
}
STEP_OF_RUNS: Final = record({"at": STRING, "at_ms": INTEGER, **FIGURES}, "Runs of an hour or a day, in UTC.")
TASK: Final = record(
    {
        "task": STRING,
        **FIGURES,
        "unusual": many(STRING) | {"description": "What is unusual about its last runs compared with its week before."},
    },
    "A task's last 24 hours.",
)
PAUSE: Final = record(
    {
        "kind": {"enum": ["queue", "task", "schedule"]},
        "name": STRING,
        "active": BOOLEAN,
        "by": STRING,
        "reason": STRING,
        "since": STRING,
        "since_ms": INTEGER,
        "until": maybe(STRING) | {"description": "When it ends by itself, or has ended."},
        "until_ms": maybe(INTEGER),
        "ended_by": maybe(STRING),
    },
    "A pause of a queue, a task or a schedule.",
)
SCHEMAS: Final[dict[str, Schema]] = {
    "Job": JOB,
    "Group": GROUP,
    "Worker": WORKER,
    "Queue": QUEUE,
    "Audit": AUDIT,
    "Pause": PAUSE,
    "Task": TASK,
    "RunsOfTime": STEP_OF_RUNS,
}
"""Top-level records by name."""
