"""Load a million jobs into DynamoDB Local in minutes: items are built by the library and written directly, in parallel.

Of a hundred jobs 40 wait, 2 run, 18 failed and await a person, 5 await their next retry, 5 are resolved, 10 were
cancelled, 20 completed. Job ``n`` is the same at any size, so that a larger table only has more jobs.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from jobclaim.fleet.workers import WorkerRecord
from jobclaim.jobs import Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.encoding.item import attribute, place, to_attributes
from jobclaim.jobs.model import DeadState
from jobclaim.settings import QueueSpec, Settings

BATCH: Final = 25
"""Most items of one BatchWriteItem."""
CHUNK: Final = 2_000
QUEUES: Final = tuple(QueueSpec(name=name) for name in ("default", "documents", "email", "reports"))
TASKS: Final = ("shop.charge", "shop.refund", "mail.send", "documents.read", "reports.daily")
CAUSES: Final = 40
WORKERS: Final = 8
LEASE_MS: Final = 3_600_000
KEPT_SECONDS: Final = 30 * 86_400
HEADERS: Final = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "DynamoDB_20120810.BatchWriteItem",
    # DynamoDB Local requires a signature but does not check it
    "Authorization": "AWS4-HMAC-SHA256 Credential=jobclaimtest/20260101/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host, Signature=0",
}


def settings(**more: Any) -> Settings:
    """Settings of a table with many jobs: four queues, four index shards, completed jobs listed."""
    return Settings(queues=QUEUES, index_completed=True, **more)


def job_id(number: int) -> str:
    """Return the id of job ``n``."""
    return f"job-{number:09}"


def job(number: int, now: int) -> Job:
    """Return job ``n``; each job is one millisecond older than the one before."""
    at, part = now - number, number % 100
    fresh = Job(
        job_id=job_id(number),
        task=TASKS[number % len(TASKS)],
        queue=QUEUES[number // 100 % len(QUEUES)].name,
        status=JobStatus.PENDING,
        max_attempts=3,
        payload={"args": [number % 1000], "kwargs": {"customer": f"customer-{number % 1000:04}"}},
        created_at=at,
        available_at=at,
        dispatched_at=at,
        dispatches=1,
        lease_ms=LEASE_MS,
        submission=f"{number:032x}",
    )
    if part < 40:
        return fresh
    claimed = _claimed(fresh, number, now)
    return claimed if part < 42 else _ended(claimed, part, number, at)


def _claimed(fresh: Job, number: int, now: int) -> Job:
    return replace(
        fresh,
        status=JobStatus.PROCESSING,
        attempt=1,
        charged=1,
        claim_token=f"{number:032x}",
        worker_id=worker_id(number),
        celery_task_id=fresh.job_id,
        claimed_at=now,
        lease_expires_at=now + LEASE_MS,
    )


def _ended(claimed: Job, part: int, number: int, at: int) -> Job:
    ended = replace(claimed, claim_token="", finished_at=at, expires_at=at // 1000 + KEPT_SECONDS)
    if part >= 80:
        return replace(ended, status=JobStatus.COMPLETED, result={"words": number % 1000})
    if part >= 70:
        return replace(ended, status=JobStatus.CANCELLED, failure=_failure(FailureKind.CANCELLED, number, at))
    if part >= 65:
        state, kind = DeadState.RESOLVED, FailureKind.PERMANENT
    elif part >= 60:
        state, kind = DeadState.SCHEDULED, FailureKind.TRANSIENT
    else:
        state, kind = DeadState.WAITING, FailureKind.PERMANENT
    retry_at = at + 21 * 3_600_000 if state is DeadState.SCHEDULED else 0
    failure = _failure(kind, number, at)
    return replace(ended, status=JobStatus.FAILED, failure=failure, dead_state=str(state), retry_at=retry_at)


def _failure(kind: FailureKind, number: int, at: int) -> Failure:
    cause = number // 7 % CAUSES
    return Failure(
        kind=kind,
        exception="shop.Declined",
        message=f"card of customer {number % 1000} was declined",
        traceback="Traceback (most recent call last):\n" + 6 * '  File "/app/shop/charge.py", line 42, in charge\n',
        at=at,
        where=f"shop/charge.py:{cause:03} charge",
        fingerprint=f"{cause:016x}",
    )


def worker_id(number: int) -> str:
    """Return the id of a simulated worker that holds claims."""
    return f"worker-{number // 100 % WORKERS}@bench"


def workers(now: int) -> list[WorkerRecord]:
    """Return the records of those workers, each with the first jobs that it runs."""
    running = range(40, 40 + 100 * WORKERS, 100)
    return [
        WorkerRecord(
            worker_id=worker_id(number),
            seen_at=now + LEASE_MS,  # they send no more heartbeats, and must stay live for the whole benchmark
            started_at=now - 60_000 - number,
            queues=tuple(queue.name for queue in QUEUES),
            jobs=(job_id(number),),
            version="bench",
            host="bench",
            pid=number,
            concurrency=4,
        )
        for number in running
    ]


@dataclass(frozen=True)
class Target:
    """Destination of the items."""

    url: str
    table: str
    shards: int


def load(
    known: Settings,
    count: int,
    now: int,
    *,
    start: int = 0,
    processes: int = 2,
    make: Callable[[int, int], Job] = job,
) -> float:
    """Write jobs ``start`` to ``count``; return the seconds it took. Needs a server that does not check signatures."""
    begin = time.perf_counter()
    target = Target(known.endpoint("dynamodb") or "", known.job_table, known.index_shards)
    chunks = [range(first, min(first + CHUNK, count)) for first in range(start, count, CHUNK)]
    with ProcessPoolExecutor(processes) as pool:
        for _ in pool.map(partial(_write, target, now, make), chunks):
            pass
    return time.perf_counter() - begin


def _write(target: Target, now: int, make: Callable[[int, int], Job], numbers: Sequence[int]) -> None:
    address = urlsplit(target.url)
    line = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    try:
        for first in range(0, len(numbers), BATCH):
            rows = [
                {"PutRequest": {"Item": _item(target, make(number, now))}} for number in numbers[first : first + BATCH]
            ]
            while rows:
                answer = _post(line, {"RequestItems": {target.table: rows}})
                rows = answer.get("UnprocessedItems", {}).get(target.table, [])
    finally:
        line.close()


def _item(target: Target, made: Job) -> dict[str, dict[str, str]]:
    stored = to_attributes(made) | place(made, shards=target.shards, index_completed=True)
    return {name: attribute(value) for name, value in stored.items()}


def _post(line: http.client.HTTPConnection, request: Any) -> Any:
    line.request("POST", "/", orjson.dumps(request), HEADERS)
    answer = line.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"BatchWriteItem: {answer.status} {body[:300]!r}")
    return orjson.loads(body)
