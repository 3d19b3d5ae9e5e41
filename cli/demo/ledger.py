"""The demo's evidence: records of the bodies, logs of the workers, and the contents of DynamoDB and SQS."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jobclaim.jobs import Job

REFUSED: Final = "claim.refused"
"""The event that a worker logs when its claim is refused."""


@dataclass(frozen=True, slots=True)
class Body:
    """One start of a body, as the body recorded it."""

    job_id: str
    attempt: int
    pid: int
    worker: str

    @property
    def worker_pid(self) -> int:
        """Return the process id of the worker's main process, from its name ``host:pid:random``."""
        return int(self.worker.rsplit(":", 2)[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All input of the verdict.

    Attributes
    ----------
    wanted_jobs, wanted_duplicates : int
        How many the story intended.
    submitted : tuple of str
        Job ids that submitters received.
    jobs : mapping of str to Job
        Read from DynamoDB at the end.
    bodies : tuple of Body
    refusals : Counter
        Refused claims in the logs, by job.
    duplicates : Counter
        Copies of messages that were sent directly to SQS, by job.
    lost : str
        The job whose message was deleted before any worker saw it.
    killed_pid : int
        Main process of the worker that was killed.
    orphans : tuple of str
        Jobs whose bodies were running in that worker when it was killed.
    messages_left : mapping of str to int
        Messages in each queue at the end, visible, in flight and delayed.
    """

    wanted_jobs: int
    wanted_duplicates: int
    submitted: tuple[str, ...] = ()
    jobs: Mapping[str, Job] = field(default_factory=dict)
    bodies: tuple[Body, ...] = ()
    refusals: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    lost: str = ""
    killed_pid: int = 0
    orphans: tuple[str, ...] = ()
    messages_left: Mapping[str, int] = field(default_factory=dict)

    def runs(self) -> Counter[tuple[str, int]]:
        """Count the bodies of each attempt."""
        return Counter((body.job_id, body.attempt) for body in self.bodies)


def read_bodies(file: Path) -> tuple[Body, ...]:
    """Read the bodies' records; no file means that no body has run."""
    if not file.exists():
        return ()
    rows = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
    return tuple(Body(job_id, int(attempt), int(pid), worker) for job_id, attempt, pid, worker in rows)


def read_refusals(logs: Iterable[Path]) -> Counter[str]:
    """Count the refused claims in the workers' logs, by job."""
    return Counter(
        str(event["job_id"]) for event in events(logs) if event.get("event") == REFUSED and "job_id" in event
    )


def events(logs: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Read JSON log lines; skip lines that are not JSON (a worker's banner)."""
    for log in logs:
        if not log.exists():
            continue
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if not line.startswith("{"):
                continue
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event


def messages_in(sqs: Any, queue_urls: Mapping[str, str]) -> dict[str, int]:
    """Count the messages of each queue: visible, in flight and delayed."""
    names = (
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    )
    counts = {}
    for queue, url in queue_urls.items():
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names))["Attributes"]
        counts[queue] = sum(int(attributes.get(name, 0)) for name in names)
    return counts
