"""From the arguments of a submission to the job to write: checks and defaults, no I/O."""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from jobclaim.jobs import checks
from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.marks import is_mark, is_of
from jobclaim.jobs.errors import IdempotencyMismatch, InvalidInput, PayloadTooLarge
from jobclaim.jobs.failures.dead import seal_policy
from jobclaim.jobs.model import Job, JobStatus, OnOrphan
from jobclaim.jobs.protocol.lifecycle import first_dispatches
from jobclaim.settings import SQS_MAX_VISIBILITY, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A caller's submission; see `jobclaim.jobs.repo.JobRepo.create_job` for the meaning of each field.

    Attributes
    ----------
    text : str, optional
        The payload's JSON, if the caller has encoded it already.
    """

    task: str
    payload: Any = None
    text: str | None = None
    queue: str | None = None
    job_id: str | None = None
    idempotency_key: str | None = None
    ttl: float | None = None
    fingerprint: str | None = None
    available_at: int | datetime | None = None
    max_attempts: int | None = None
    on_orphan: OnOrphan | None = None
    hard_limit: int | None = None
    start_by: int | datetime | None = None
    envelope: str = ""
    failure_policy: str = ""
    tags: Iterable[str] | None = None


MAX_POLICY: Final = 2_048
MAX_ENVELOPE: Final = 16_384
"""Bytes of an envelope that do not count as payload; `settings.ITEM_BUDGET` reserves space for them."""


def id_for_key(task: str, idempotency_key: str) -> str:
    """Derive the job id of an idempotent submission: SHA-256 over task and key, 64 hexadecimal digits."""
    return hashlib.sha256(f"{task}\0{idempotency_key}".encode()).hexdigest()


def new_job(submission: Submission, settings: Settings, clock: Clock, *, any_queue: bool) -> Job:
    """Check a submission and build its PENDING job.

    Parameters
    ----------
    any_queue : bool
        Accept queues that settings do not name (a `JobRepo` created without settings knows none).

    Raises
    ------
    InvalidInput, InvalidPayload, PayloadTooLarge
        Nothing was written.
    """
    now = clock()
    task = checks.text(submission.task, "task")
    queue = queue_name(submission.queue, task, settings, any_queue)
    text = codec.encode(submission.payload) if submission.text is None else submission.text
    codec.check_size(len(text.encode()), "payload", settings.max_payload_bytes)
    available_at = max(now, checks.moment(submission.available_at, "available_at", now))
    key, ttl, fingerprint = _idempotency(submission, text, settings)
    return Job(
        job_id=_job_id(submission, task, key),
        task=task,
        queue=queue,
        status=JobStatus.PENDING,
        max_attempts=_max_attempts(submission, settings),
        payload=submission.payload,
        created_at=now,
        available_at=available_at,
        idempotency_key=key,
        idempotency_ttl=ttl,
        fingerprint=fingerprint,
        submission=secrets.token_hex(6),
        dispatches=first_dispatches(available_at, now),
        dispatched_at=now,
        on_orphan=_on_orphan(settings.on_orphan if submission.on_orphan is None else submission.on_orphan),
        lease_ms=lease_ms(submission.hard_limit, queue, task, settings),
        start_by=0 if submission.start_by is None else checks.moment(submission.start_by, "start_by", now),
        envelope=_envelope(submission.envelope, len(text), settings.max_payload_bytes),
        failure_policy=_policy(submission.failure_policy),
        tags=checks.tags(submission.tags),
    )


def check_same_call(existing: Job, new: Job) -> None:
    """Refuse a duplicate with the same key but other arguments, or whose id belongs to another task."""
    if existing.task != new.task:
        raise IdempotencyMismatch(
            f"job id {new.job_id!r} belongs to a job of task {existing.task!r}, not {new.task!r}; use another id"
        )
    if existing.fingerprint and new.fingerprint and existing.fingerprint != new.fingerprint:
        raise IdempotencyMismatch(
            f"idempotency key {new.idempotency_key!r} of task {new.task!r} was used for other arguments by job "
            f"{existing.job_id!r}; use another key, or wait until its window of {existing.idempotency_ttl:g} s has "
            "passed"
        )


def check_same_payload(existing: Job, new: Job, text: str) -> None:
    """Refuse a chosen id whose job has a different payload from the JSON ``text``.

    A large payload that could not be read is compared by the hash in its mark.
    """
    known = existing.payload
    if not (is_of(known, text) if is_mark(known) else _sorted(codec.encode(known)) == _sorted(text)):
        raise IdempotencyMismatch(
            f"job id {new.job_id!r} belongs to a job of task {new.task!r} with another payload; use another id, "
            "or read that job by get_job()"
        )


def _sorted(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


def queue_name(queue: str | None, task: str, settings: Settings, any_queue: bool) -> str:
    """Check a queue's logical name, or return the one that settings route the task to."""
    name = checks.text(queue, "queue", 80) if queue is not None else settings.queue_of(task)
    if not any_queue:
        try:
            settings.queue(name)
        except ValueError as error:
            raise InvalidInput(str(error)) from None
    if "#" in name:
        raise InvalidInput(f"queue {name!r} contains '#', which separates the parts of an index key; rename it")
    return name


def _job_id(submission: Submission, task: str, key: str) -> str:
    if submission.job_id is not None and key:
        raise InvalidInput(
            f"job_id={submission.job_id!r} and idempotency_key={key!r} exclude each other, because the id is derived "
            "from the key; pass one of them"
        )
    if submission.job_id is not None:
        return checks.text(submission.job_id, "job_id")
    return id_for_key(task, key) if key else str(uuid.uuid4())


def _idempotency(submission: Submission, payload: str, settings: Settings) -> tuple[str, float, str]:
    if submission.idempotency_key is None:
        if submission.ttl is not None:
            raise InvalidInput(
                f"ttl={submission.ttl!r} is the window of an idempotency key, but no key was given; "
                "pass idempotency_key too"
            )
        return "", 0, ""
    key = checks.text(submission.idempotency_key, "idempotency_key", checks.MAX_KEY)
    ttl = checks.positive(
        submission.ttl if submission.ttl is not None else settings.idempotency_ttl_seconds,
        "ttl",
        checks.MAX_WINDOW_SECONDS,
    )
    fingerprint = checks.optional_text(submission.fingerprint, "fingerprint", checks.MAX_TOKEN)
    return key, ttl, fingerprint or hashlib.sha256(payload.encode()).hexdigest()[:16]


def _envelope(text: Any, payload: int, limit: int) -> str:
    if not isinstance(text, str):
        raise InvalidInput(f"envelope must be text, not {type(text).__name__}")
    size = len(text.encode("utf-8", "replace"))
    if size - MAX_ENVELOPE + payload > limit:
        raise PayloadTooLarge(
            f"what follows the job (links, chain, chord) takes {size} bytes and its payload takes {payload}; "
            f"together they may take max_payload_bytes={limit} plus {MAX_ENVELOPE}. Pass smaller arguments "
            "(references) to the linked tasks, or set JOBCLAIM_BUCKET"
        )
    return text.encode("utf-8", "replace").decode()


def _policy(text: Any) -> str:
    """Check a task's failure rules: recovery reads them and must not fail on a job."""
    if not checks.optional_text(text, "failure_policy", MAX_POLICY):
        return ""
    try:
        rules = json.loads(text)
        critical = rules.pop("critical", False) is True
    except (ValueError, AttributeError, TypeError):
        raise InvalidInput(
            f"failure_policy={text[:40]!r} is not a sealed policy; make it with jobclaim.jobs.failures.dead.seal_policy"
        ) from None
    return seal_policy(rules, critical=critical)


def _max_attempts(submission: Submission, settings: Settings) -> int:
    return (
        settings.max_attempts
        if submission.max_attempts is None
        else checks.count(submission.max_attempts, "max_attempts")
    )


def lease_ms(hard_limit: int | None, queue: str, task: str, settings: Settings) -> int:
    """Return the lease in milliseconds of a job of this task in this queue; ``hard_limit`` is the job's own."""
    known = queue if queue in settings.queue_names else settings.default_queue
    if hard_limit is None:
        return settings.lease_seconds(known, settings.limits(task, known).hard) * 1000
    hard = checks.count(hard_limit, "hard_limit", most=SQS_MAX_VISIBILITY)
    # a queue's fixed lease must not make an orphan of a job that was allowed to run longer
    return max(settings.lease_seconds(known, hard), hard + settings.lease_grace_seconds) * 1000


def _on_orphan(value: Any) -> OnOrphan:
    if value == "retry":
        return "retry"
    if value == "fail":
        return "fail"
    raise InvalidInput(f"on_orphan={value!r} must be 'fail' or 'retry'")
