"""Reconcile table and queues: every open job has its message, every message its job, no attempt ran twice.

For an idle system, after an incident or in a test: it reads every open job, receives every visible message and makes it
visible again. That counts as a delivery, so a message that was delivered ``max_receive_count - 1`` times before moves
to the dead-letter queue when it is next received.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.jobs import Job, JobRepo, JobStatus
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.protocol.lifecycle import UNSURE_AFTER_MS
from jobclaim.settings import Settings
from jobclaim.specs.finding import Finding
from jobclaim.workers.messages.message import HEADER

HIDDEN_SECONDS: Final = 60
"""How long an inspected message stays hidden if this process ends before making it visible again."""
PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Inspected:
    """How much was compared."""

    jobs: int
    messages: int


def reconcile(repo: JobRepo, sqs: Any, settings: Settings) -> tuple[list[Finding], Inspected]:
    """Compare all open jobs with all visible messages."""
    found: list[Finding] = []
    jobs = messages = 0
    for queue in settings.queue_names:
        began = repo.clock()
        url = settings.queue_urls.get(queue) or sqs.get_queue_url(QueueName=settings.physical_name(queue))["QueueUrl"]
        seen, hidden = _peek(sqs, url)
        open_jobs = {job.job_id: job for job in _open_jobs(repo, queue)}
        jobs, messages = jobs + len(open_jobs), messages + sum(seen.values())
        found += _of_queue(repo, queue, open_jobs, seen, hidden, began)
    return found, Inspected(jobs, messages)


def _of_queue(
    repo: JobRepo, queue: str, open_jobs: dict[str, Job], seen: Counter[str], hidden: int, began: int
) -> Iterator[Finding]:
    for job in open_jobs.values():
        # jobs sent while messages were being read, or just before, are not judged
        sent_before = max(job.available_at, job.dispatched_at) <= began - UNSURE_AFTER_MS
        waits = job.status is JobStatus.PENDING and job.dispatches and sent_before
        if waits and job.job_id not in seen and not hidden:
            yield _finding("no-message", job.job_id, queue, "is due and has no message", "recovery sends it again")
        yield from _double_runs(job, queue)
    known = repo.table.get_many([job_id for job_id in seen if job_id and job_id not in open_jobs], consistent=True)
    for job_id in seen:
        if job_id and job_id not in open_jobs and job_id not in known:
            fix = "a worker refuses it; if there are many, check for a deleted or wrong table"
            yield _finding("no-job", job_id, queue, "has a message and no item in the table", fix)
        elif job_id in known:
            yield from _double_runs(known[job_id], queue)


def _double_runs(job: Job, queue: str) -> Iterator[Finding]:
    ended = Counter(attempt.attempt for attempt in job.history)
    claimed = [number for number, times in ended.items() if times > 1 and number]
    if claimed:
        yield _finding("double-run", job.job_id, queue, f"attempt {claimed[0]} ended twice", "a bug: report it")


def _open_jobs(repo: JobRepo, queue: str) -> Iterator[Job]:
    for shard in range(repo.table.shards):
        after = None
        while True:
            page = repo.table.entries(schema.open_key(queue, shard), limit=PAGE, after=after)
            read = repo.table.get_many([entry.job_id for entry in page], consistent=True)
            yield from (job for job in read.values() if job.status.is_open)
            if len(page) < PAGE:
                break
            after = page[-1]


def _peek(sqs: Any, url: str) -> tuple[Counter[str], int]:
    """Count visible messages by job id, and those that cannot be received: in flight or delayed."""
    names = ["ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    seen: Counter[str] = Counter()
    handles: list[str] = []
    try:
        while messages := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=HIDDEN_SECONDS, WaitTimeSeconds=1
        ).get("Messages"):
            for message in messages:
                handles.append(message["ReceiptHandle"])
                seen[job_of(message["Body"])] += 1
    finally:
        for handle in handles:
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    return seen, sum(int(attributes[name]) for name in names)


def job_of(body: str) -> str:
    """Read the job's id from a message as stored in SQS; empty if it has none."""
    try:
        text = body if body.lstrip().startswith("{") else base64.b64decode(body, validate=True).decode()
        return str(json.loads(text)["headers"][HEADER]["job_id"])
    except (ValueError, KeyError, TypeError, binascii.Error):
        return ""


def _finding(check: str, job_id: str, queue: str, problem: str, fix: str) -> Finding:
    return Finding(check, job_id, f"queue {queue}", 0, problem, fix)
