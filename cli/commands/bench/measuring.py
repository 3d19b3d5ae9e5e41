"""`jobclaim bench`: run empty jobs through the deployment's table and a temporary queue, and measure their cost.

Submission, claim and end are the same requests that a task and a worker make. They are made from threads of this
process, so that nothing has to be deployed. Workers and recovery do not see these jobs, because their queue is not in
any settings. They are deleted at the end; if a run is killed, the next run deletes what it left.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from jobclaim.infra.cost import READ_UNIT, SQS_REQUEST, WRITE_UNIT
from jobclaim.jobs import JobRepo
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.jobs.storage.connect import client
from jobclaim.jobs.storage.lean import lean
from jobclaim.settings import QueueSpec, Settings

QUEUE: Final = "jobclaim.bench"
"""Queue of these jobs. A configured queue cannot have a dot in its name, so no user's job can be in this one."""
TASK: Final = "jobclaim.bench"
BATCH: Final = 10
LEFT_AFTER_MS: Final = 900_000
"""Age from which another run's job counts as left behind."""
BODY_MS: Final = 100
"""Length of the task to which the overhead is compared."""
MILLION: Final = 1_000_000


class CountedClient:
    """A client that counts its requests and the capacity that DynamoDB bills for them. Thread-safe."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain
        self.requests: Counter[str] = Counter()
        self.units: Counter[str] = Counter()
        self._dynamodb = plain.meta.service_model.service_name == "dynamodb"
        self._lock = Lock()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.plain, name)

        def ask(**request: Any) -> Any:
            more = {"ReturnConsumedCapacity": "TOTAL"} if self._dynamodb else {}
            with self._lock:
                self.requests[name] += 1
            answer = real(**request, **more)
            kind = "read" if name in ("get_item", "query", "batch_get_item") else "write"
            with self._lock:
                self.units[kind] += answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0)
            return answer

        return ask if callable(real) else real


@dataclass(slots=True)
class Measured:
    """Results of a run.

    Attributes
    ----------
    seconds : float
        Time from the first claim to the last deleted message.
    milliseconds : dict
        Durations of every submission, claim and end.
    requests : dict
        Number of requests of all jobs, by operation.
    write_units, read_units : float
        Units of all jobs, as DynamoDB reported them.
    """

    jobs: int
    threads: int
    seconds: float = 0.0
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    write_units: float = 0.0
    read_units: float = 0.0
    deleted: int = 0

    def record(self) -> dict[str, Any]:
        """Return the figures per job, as the command prints them."""
        per_job = {name: round(count / self.jobs, 3) for name, count in sorted(self.requests.items())}
        return {
            "jobs": self.jobs,
            "threads": self.threads,
            "jobs_per_second": round(self.jobs / self.seconds, 1),
            **{f"{name}_ms": _spread(values) for name, values in self.milliseconds.items()},
            "body_ms": BODY_MS,
            "overhead_percent": {name: round(100 * value / BODY_MS, 1) for name, value in self._overhead().items()},
            "requests_per_job": round(sum(self.requests.values()) / self.jobs, 3),
            "requests": per_job,
            "write_units_per_job": round(self.write_units / self.jobs, 3),
            "read_units_per_job": round(self.read_units / self.jobs, 3),
            "dollars_per_million": round(self.dollars() / self.jobs * MILLION, 2),
            "deleted": self.deleted,
        }

    def _overhead(self) -> Mapping[str, float]:
        """Return the milliseconds that claim and end add to a body, because a worker's process waits for both."""
        pairs = zip(self.milliseconds.get("claim", []), self.milliseconds.get("end", []), strict=True)
        return _spread([claim + end for claim, end in pairs])

    def dollars(self) -> float:
        """Return the price of this run at list prices of us-east-1."""
        sqs = sum(count for name, count in self.requests.items() if "message" in name)
        return sqs * SQS_REQUEST + self.write_units * WRITE_UNIT + self.read_units * READ_UNIT


def measure(
    settings: Settings, jobs: int, threads: int, *, progress: Callable[[str], None] = lambda _: None
) -> Measured:
    """Run ``jobs`` jobs through table and queue, and delete them.

    Raises
    ------
    JobError, botocore.exceptions.ClientError
        A permission is missing or a service does not answer; what was created is deleted as far as possible.
    """
    table, sqs = CountedClient(lean(client(settings, "dynamodb"))), CountedClient(lean(client(settings, "sqs")))
    queues = (*settings.queues, QueueSpec.model_construct(name=QUEUE))
    # these runs must not count in the deployment's statistics
    own = settings.model_copy(update={"queues": queues, "statistics": False})
    repo = JobRepo.from_settings(own, client=table)
    found = Measured(jobs, threads)
    written: list[str] = []
    try:
        with _queue(sqs.plain, settings) as url, ThreadPoolExecutor(threads) as pool:
            progress(f"Submitting {jobs} jobs ...")
            _submit(pool, repo, sqs, url, found, written)
            progress("Claiming and completing them ...")
            _work(pool, repo, sqs, url, found)
    finally:
        progress("Deleting them ...")
        found.deleted = sum(_delete(table.plain, repo, job_id) for job_id in [*written, *_left_behind(repo)])
    found.requests = {**table.requests, **sqs.requests}
    found.write_units, found.read_units = table.units["write"], table.units["read"]
    return found


@contextmanager
def _queue(sqs: Any, settings: Settings) -> Iterator[str]:
    """Create a queue for this run alone."""
    name = f"{settings.queue_prefix}bench-{uuid.uuid4().hex[:8]}"
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "300"})["QueueUrl"]
    try:
        yield url
    finally:
        sqs.delete_queue(QueueUrl=url)


def _submit(
    pool: ThreadPoolExecutor, repo: JobRepo, sqs: CountedClient, url: str, found: Measured, written: list[str]
) -> None:
    def one(number: int) -> float:
        began = time.perf_counter()
        job = repo.create_job(TASK, {"args": [number], "kwargs": {}}, queue=QUEUE)
        written.append(job.job_id)
        sqs.send_message(QueueUrl=url, MessageBody=job.job_id)
        return 1000 * (time.perf_counter() - began)

    found.milliseconds["submit"] = list(pool.map(one, range(found.jobs)))


def _work(pool: ThreadPoolExecutor, repo: JobRepo, sqs: CountedClient, url: str, found: Measured) -> None:
    """Receive messages ten at a time on each thread until every job has ended."""
    claims, ends, done, pairing = [], [], Counter[str](), Lock()

    def one(job_id: str) -> None:
        began = time.perf_counter()
        claimed = repo.claim_job(job_id, attempt=0)
        between = time.perf_counter()
        if claimed is not None:  # otherwise SQS delivered the message twice
            repo.update_status(job_id, "COMPLETED")
            ended = time.perf_counter()
            with pairing:  # keeps the lists in step: `_overhead` adds up claim and end of the same job
                claims.append(1000 * (between - began))
                ends.append(1000 * (ended - between))
            done[job_id] = 1

    def some(_: int) -> None:
        while len(done) < found.jobs and time.monotonic() < patience:
            answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=1)
            messages = answer.get("Messages", [])
            for message in messages:
                one(message["Body"])
            if messages:
                entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
                sqs.delete_message_batch(QueueUrl=url, Entries=entries)

    began = time.monotonic()
    patience = began + 60 + found.jobs
    list(pool.map(some, range(found.threads)))
    found.seconds = time.monotonic() - began
    found.milliseconds |= {"claim": claims, "end": ends}


def _left_behind(repo: JobRepo) -> Iterator[str]:
    """Yield the ids of open jobs that a killed run left behind."""
    for shard in range(repo.table.shards):
        old = repo.clock() - LEFT_AFTER_MS
        for entry in repo.table.entries(schema.open_key(QUEUE, shard), limit=1000, up_to=old):
            yield entry.job_id


def _delete(dynamodb: Any, repo: JobRepo, job_id: str) -> int:
    dynamodb.delete_item(TableName=repo.table.name, Key={schema.KEY: attribute(job_id)})
    return 1


def _spread(values: list[float]) -> Mapping[str, float]:
    if len(values) < 2:
        return {"p50": round(sum(values), 2), "p95": round(sum(values), 2)}
    cuts = statistics.quantiles(values, n=20)
    return {"p50": round(statistics.median(values), 2), "p95": round(cuts[-1], 2)}
