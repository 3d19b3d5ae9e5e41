"""Messages of many jobs, ten per request: those that kombu would send one by one are intercepted and batched."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from typing import Any, Final, Protocol, Self

from botocore.exceptions import BotoCoreError, ClientError
from celery import Celery

from jobclaim.jobs import Job
from jobclaim.jobs.log import get_logger
from jobclaim.workers.submission import prebuilt
from jobclaim.workers.submission.dispatch import publish
from jobclaim.workers.transport.channel import sqs_client

log = get_logger("jobclaim.bulk")

PER_REQUEST: Final = 10
"""Entries of one SendMessageBatch (AWS, "Amazon SQS message quotas")."""
MOST_BYTES: Final = 900_000
"""Bytes of one SendMessageBatch: SQS takes 1 MiB, attributes and names included."""
TRIES: Final = 3
REQUESTS_AT_ONCE: Final = 8


class SentCounts(Protocol):
    """Counts messages."""

    sent: int
    unsent: int


class BatchMessages:
    """Collects messages and sends them by tens; a context manager that sends the rest at its end.

    Parameters
    ----------
    pool : Executor
        Makes the requests.
    tally
        Called with the numbers of messages.
    """

    def __init__(self, app: Celery, pool: Executor, tally: SentCounts) -> None:
        self._app = app
        self._pool = pool
        self._tally = tally
        self._waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._bytes: dict[str, int] = defaultdict(int)
        self._under_way: deque[tuple[int, Future[int]]] = deque()
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        self._producer, self._catcher = self._exits.enter_context(prebuilt.catching(self._app))
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for url in list(self._waiting):
                self._send(url)
            while self._under_way:
                self._settle()
        finally:
            self._exits.close()

    def add(self, job: Job) -> None:
        """Add the message of a job, unless the job is due too far ahead for SQS."""
        if not job.dispatches:
            return
        for request in self._requests(job):
            self._take(request)

    def _requests(self, job: Job) -> list[dict[str, Any]]:
        delay = max(0, job.available_at - self._app.jobclaim.repo.clock()) / 1000
        try:
            request = prebuilt.request_of(self._app, job, math.ceil(delay))
            if request is not None:
                return [request]
            publish(self._app, job, delay, producer=self._producer)
        except Exception as error:  # noqa: BLE001 - after any error the job is written, and recovery sends its message
            self._tally.unsent += 1
            log.warning("message.not_built", error=type(error).__name__, **job.log_context())
            return []
        caught, self._catcher.caught = self._catcher.caught, []
        return caught

    def _take(self, request: dict[str, Any]) -> None:
        url, size = request.pop("QueueUrl"), len(request["MessageBody"])
        if self._bytes[url] + size > MOST_BYTES:
            self._send(url)
        self._waiting[url].append(request)
        self._bytes[url] += size
        if len(self._waiting[url]) == PER_REQUEST:
            self._send(url)

    def _send(self, url: str) -> None:
        entries, self._waiting[url], self._bytes[url] = self._waiting[url], [], 0
        if not entries:
            return
        while len(self._under_way) >= REQUESTS_AT_ONCE:
            self._settle()
        self._under_way.append((len(entries), self._pool.submit(send_batch, self._app.jobclaim.settings, url, entries)))

    def _settle(self) -> None:
        count, future = self._under_way.popleft()
        sent = future.result()
        self._tally.sent += sent
        self._tally.unsent += count - sent


def send_batch(settings: Any, url: str, entries: Sequence[dict[str, Any]]) -> int:
    """Send up to ten messages in one request, retrying those that SQS fails to accept. Return the number sent."""
    client = sqs_client(settings)
    left = {str(number): entry for number, entry in enumerate(entries)}
    for _ in range(TRIES):
        try:
            request = [{"Id": number, **entry} for number, entry in left.items()]
            answer = client.send_message_batch(QueueUrl=url, Entries=request)
        except (ClientError, BotoCoreError) as error:
            log.warning("messages.not_sent", count=len(left), error=type(error).__name__)
            break
        for sent in answer.get("Successful", ()):
            left.pop(sent["Id"], None)
        if not left or all(failed.get("SenderFault") for failed in answer.get("Failed", ())):
            break
    return len(entries) - len(left)
