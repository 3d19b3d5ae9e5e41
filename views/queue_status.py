"""Status of each queue: messages in SQS, open jobs in DynamoDB, and how much of its SLA the oldest job has used."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from jobclaim.jobs import Job, JobRepo, JobStatus
from jobclaim.jobs.encoding import schema
from jobclaim.settings import Settings

PAGE: Final = 100
"""Index entries that are read per queue and shard: the oldest ones, so the oldest waiting job is among them unless more
than this many run in one shard."""
COUNTS: Final = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue.

    Attributes
    ----------
    visible, in_flight, delayed, dead_letters : int, optional
        Messages in SQS, as it approximates them; ``None`` if the queue does not exist.
    waiting, running : int
        Jobs due and not claimed, and claimed, among those read.
    later : int
        Jobs due later, among those read.
    more : bool
        Whether there are more open jobs than were read.
    oldest_waiting_seconds : float
        Time since the longest-waiting job was due.
    sla_burn : float
        That time as a share of the queue's SLA: above 1 it is missed.
    """

    queue: str
    priority: int
    sla_seconds: float
    visible: int | None
    in_flight: int | None
    delayed: int | None
    dead_letters: int | None
    waiting: int
    running: int
    later: int
    more: bool
    oldest_waiting_seconds: float
    sla_burn: float

    def record(self) -> dict[str, Any]:
        """Return the JSON record."""
        return asdict(self)


def queue_statuses(repo: JobRepo, sqs: Any, settings: Settings) -> list[QueueStatus]:
    """Read the status of every queue: at most two requests to SQS and, for each shard, two to DynamoDB."""
    specs = sorted(settings.queues, key=lambda spec: -spec.priority)
    return [_status(repo, sqs, settings, spec.name) for spec in specs]


def _status(repo: JobRepo, sqs: Any, settings: Settings, name: str) -> QueueStatus:
    spec, now = settings.queue(name), repo.clock()
    url = settings.queue_urls.get(name)
    messages = _counts(sqs, url, settings.physical_name(name))
    dead = _counts(sqs, settings.dead_letter_url(name), settings.dead_letter_name(name))
    jobs, more = oldest_open(repo, name)
    waiting = [job for job in jobs if job.status is JobStatus.PENDING and job.available_at <= now]
    oldest = max((now - job.available_at for job in waiting), default=0) / 1000
    return QueueStatus(
        queue=name,
        priority=spec.priority,
        sla_seconds=spec.sla_seconds,
        visible=messages.get("visible"),
        in_flight=messages.get("in_flight"),
        delayed=messages.get("delayed"),
        dead_letters=dead.get("visible"),
        waiting=len(waiting),
        running=sum(job.status is JobStatus.PROCESSING for job in jobs),
        later=sum(job.status is JobStatus.PENDING and job.available_at > now for job in jobs),
        more=more,
        oldest_waiting_seconds=round(oldest, 3),
        sla_burn=round(oldest / spec.sla_seconds, 3),
    )


def oldest_open(repo: JobRepo, queue: str) -> tuple[list[Job], bool]:
    """Read a queue's open jobs, oldest first, up to `PAGE` per shard; return whether there are more."""
    table = repo.table
    pages = [table.entries(schema.open_key(queue, shard), limit=PAGE) for shard in range(table.shards)]
    jobs = table.get_many([entry.job_id for page in pages for entry in page])
    return [job for job in jobs.values() if job.status.is_open], any(len(page) == PAGE for page in pages)


def _counts(sqs: Any, url: str | None, name: str) -> dict[str, int]:
    try:
        url = url or sqs.get_queue_url(QueueName=name)["QueueUrl"]
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(COUNTS.values()))["Attributes"]
    except sqs.exceptions.ClientError as error:
        if not error.response["Error"]["Code"].endswith(("NonExistentQueue", "QueueDoesNotExist")):
            raise
        return {}
    return {field: int(answer[attribute]) for field, attribute in COUNTS.items()}
