"""A job as a DynamoDB item and back: strings and numbers only, empty fields left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final

from jobclaim.jobs.encoding import codec, kept, schema
from jobclaim.jobs.errors import JobUnreadable
from jobclaim.jobs.model import DeadState, Job, JobStatus

Item = dict[str, dict[str, Any]]
"""A DynamoDB item in the low-level form, ``{"job_id": {"S": "..."}}``."""

EXPIRES_EARLIER_MS: Final = 45_000
"""How much earlier an expiring job is placed in the index: recovery, which reads no job that has been due for less than
a minute, must find it while it can still start."""
UNSENT_EARLIER_MS: Final = 55_000
"""The same for a job written in a transaction: its submitter may have died before it sent the message."""

ALWAYS_STORED: Final = frozenset(
    {"job_id", "task", "queue", "status", "attempt", "charged", "max_attempts", "lease_ms", "dispatches"}
)
"""Attributes that conditions or sums refer to: stored even if they are 0."""

LATEST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, epoch milliseconds: the last time that can be shown."""


def _moment(text: str) -> int:
    at = int(text)
    if not 0 <= at <= LATEST_MS:
        raise ValueError(f"{text} is not a time")
    return at


DECODERS: Final[Mapping[str, Callable[[str], Any]]] = {
    **dict.fromkeys(
        ("job_id", "task", "queue", "claim_token", "worker_id", "celery_task_id", "idempotency_key", "fingerprint"), str
    ),
    **dict.fromkeys(("submission", "on_orphan", "envelope", "dead_state", "failure_policy", "effects", "nonce"), str),
    **dict.fromkeys(("attempt", "charged", "max_attempts", "lease_ms", "dispatches"), int),
    **dict.fromkeys(("releases", "dead_retries", "unsent"), int),
    **dict.fromkeys(
        ("created_at", "available_at", "claimed_at", "lease_expires_at", "finished_at", "dispatched_at"), _moment
    ),
    **dict.fromkeys(("start_by", "slot", "retry_at", "expires_at"), _moment),
    "idempotency_ttl": float,
    "status": JobStatus,
    "payload": codec.decode,
    "result": codec.decode,
    "failure": codec.decode_failure,
    "history": codec.decode_history,
    "decisions": codec.decode_decisions,
    "tags": codec.decode_tags,
    "steps": kept.decode_steps,
    "waits": kept.decode_waits,
    "progress": kept.decode_progress,
    "released": kept.decode_release,
    "checkpoint": codec.decode,
    **dict.fromkeys(("wait_secret", "waits_for"), str),
    **dict.fromkeys(("step_count", "wait_changes"), int),
}

ENCODERS: Final[Mapping[str, Callable[[Any], str]]] = {
    "payload": codec.encode,
    "result": codec.encode,
    "failure": codec.encode_failure,
    "history": codec.encode_history,
    "decisions": codec.encode_decisions,
    "tags": codec.encode,
    "steps": kept.encode_steps,
    "waits": kept.encode_waits,
    "progress": kept.encode_progress,
    "released": kept.encode_release,
    "checkpoint": codec.encode,
}

LISTS: Final = frozenset({"history", "decisions", "tags", "steps", "waits"})


STORED_IF_EMPTY: Final = ALWAYS_STORED | (ENCODERS.keys() - LISTS)
_fields: Final = attrgetter(*DECODERS)


def attribute(value: str | int | float) -> dict[str, str]:
    """Return one value in DynamoDB's low-level form."""
    if type(value) is int or not isinstance(value, str):  # a call less for most numbers
        return {"N": f"{value!r}"}
    return {"S": value}


def number_in(item: Mapping[str, Mapping[str, Any]], name: str) -> int:
    """Return a whole number of an item; 0 if it has none, or another type, which a later release may have written."""
    try:
        return int(item.get(name, {}).get("N", 0))
    except ValueError:
        return 0


def text_in(item: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """Return a text of an item; empty if it has none, or another type."""
    return str(item.get(name, {}).get("S", ""))


def key_of(job_id: str) -> Item:
    """Return the key of a job's item."""
    return {schema.KEY: attribute(job_id)}


def is_absent(name: str, value: Any) -> bool:
    """Check whether a value stored as JSON is left out: ``None``, or one of our lists while it is empty."""
    return value is None or (name in LISTS and not value)


def stored_value(job: Job, name: str) -> Any:
    """Return the value of an attribute as the item holds it: a mark in place of a payload that is stored elsewhere."""
    is_elsewhere = name == "payload" and job.payload_mark is not None
    return job.payload_mark if is_elsewhere else getattr(job, name)


def to_attributes(job: Job, text: str | None = None) -> dict[str, str | int | float]:
    """Return a job's stored attributes as plain text and numbers, without its place in the index.

    ``text`` is the JSON of its payload, if the caller has encoded it already.
    """
    attributes: dict[str, str | int | float] = {}
    for name, value in zip(DECODERS, _fields(job), strict=True):
        if value or name in STORED_IF_EMPTY:
            if name not in ENCODERS:
                attributes[name] = value
            elif name == "payload" and text is not None and job.payload_mark is None:
                attributes[name] = text
            elif (stored := stored_value(job, name)) is not None:
                attributes[name] = ENCODERS[name](stored)
    return attributes


def place(job: Job, *, shards: int, index_completed: bool) -> dict[str, str | int]:
    """Return a job's place in the index `by_state`; empty for a completed job that is not listed."""
    shard = schema.shard_of(job.job_id, shards)
    if job.status.is_open:
        earlier = UNSENT_EARLIER_MS if job.unsent else EXPIRES_EARLIER_MS if job.start_by else 0
        at = max(1, job.available_at - earlier)
        return {schema.INDEX_HASH: schema.open_key(job.queue, shard), schema.INDEX_RANGE: at}
    if job.status is JobStatus.COMPLETED and not index_completed:
        return {}
    if job.status is JobStatus.FAILED and job.dead_state == DeadState.SCHEDULED:
        return {schema.INDEX_HASH: schema.retry_key(shard), schema.INDEX_RANGE: job.retry_at}
    if job.status is JobStatus.FAILED and job.dead_state in (DeadState.RESOLVED, DeadState.ABANDONED):
        return {schema.INDEX_HASH: schema.concluded_key(shard), schema.INDEX_RANGE: job.finished_at}
    return {schema.INDEX_HASH: schema.closed_key(job.status, shard), schema.INDEX_RANGE: job.finished_at}


def from_item(item: Mapping[str, Mapping[str, Any]]) -> Job:
    """Read a job; attributes that this version does not know are skipped.

    Raises
    ------
    JobUnreadable
        The item holds a value that this version cannot read.
    """
    values: dict[str, Any] = {}
    name = ""
    try:
        for name, typed in item.items():
            if name in DECODERS:
                (kind,) = typed
                values[name] = DECODERS[name](typed[kind])
        return Job(**values)
    except Exception as error:
        job_id = item.get("job_id", {}).get("S", "?")
        missing = next((needed for needed in ("task", "queue", "status") if needed not in values), name)
        raise JobUnreadable(job_id, missing if isinstance(error, TypeError) else name, error) from error
