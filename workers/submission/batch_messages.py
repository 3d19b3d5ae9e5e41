"""Messages of many jobs, ten per request, and some requests at a time.

Those that kombu would send one by one are intercepted and batched.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from typing import Any, Final, Protocol, Self

from botocore.exceptions import BotoCoreError, ClientError
from celery import Celery

from jobclaim.jobs import Job
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.begun import Begun, Reader, begun, can_begin
from jobclaim.workers.submission import prebuilt
from jobclaim.workers.submission.dispatch import publish
from jobclaim.workers.transport.client import sqs_client

log = get_logger("jobclaim.bulk")

PER_REQUEST: Final = 10
"""Entries of one SendMessageBatch (AWS, "Amazon SQS message quotas")."""
MOST_BYTES: Final = 900_000
"""Bytes of one SendMessageBatch: SQS takes 1 MiB, attributes and names included."""
TRIES: Final = 3
AT_ONCE: Final = 4
"""Requests that begin at the same time."""
WINDOW: Final = 8
"""Limit of requests that are in progress."""

Batch = tuple[str, list[dict[str, Any]]]
"""A queue's URL, and the entries of one request."""


class SentCounts(Protocol):
    """Counts messages."""

    sent: int
    unsent: int


class BatchMessages:
    """Collects messages and sends them by tens; a context manager that sends the rest at its end.

    Parameters
    ----------
    pool : Executor
        Makes the requests of a client that takes one at a time.
    reader : Reader
        Finishes the others while their caller does something else.
    tally
        Called with the numbers of messages.
    """

    def __init__(self, app: Celery, pool: Executor, reader: Reader, tally: SentCounts) -> None:
        self._app = app
        self._pool = pool
        self._reader = reader
        self._tally = tally
        self._waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._bytes: dict[str, int] = defaultdict(int)
        self._full: list[Batch] = []
        self._under_way: deque[tuple[int, Begun[int] | Future[int]]] = deque()
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        self._producer, self._catcher = self._exits.enter_context(prebuilt.catching(self._app))
        self._client = sqs_client(self._app.jobclaim.settings)
        self._most = AT_ONCE if can_begin(self._client) else 1
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for url in list(self._waiting):
                self._close(url)
            self.send_full()
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
        if self._bytes[url] and self._bytes[url] + size > MOST_BYTES:
            self._close(url)
        self._waiting[url].append(request)
        self._bytes[url] += size
        if len(self._waiting[url]) == PER_REQUEST:
            self._close(url)

    def _close(self, url: str) -> None:
        """Add no more messages to a request; send it with others."""
        self._full.append((url, self._waiting.pop(url)))
        del self._bytes[url]
        if len(self._full) == self._most:
            self.send_full()

    def send_full(self) -> None:
        """Send the requests that get no more messages."""
        batches, self._full = self._full, []
        if not batches:
            return
        while len(self._under_way) >= WINDOW // self._most:
            self._settle()
        count = sum(len(entries) for _, entries in batches)
        finish = begin(self._client, batches)
        is_begun = self._most > 1
        self._under_way.append((count, self._reader.watch(Begun(finish)) if is_begun else self._pool.submit(finish)))

    def _settle(self) -> None:
        count, begun = self._under_way.popleft()
        sent = begun.result()
        self._tally.sent += sent
        self._tally.unsent += count - sent


def begin(client: Any, batches: Sequence[Batch]) -> Callable[[], int]:
    """Begin to send up to ten messages a request; return what finishes that and returns how many were sent."""
    firsts = begun(client, "send_message_batch", [_request(url, dict(enumerate(entries))) for url, entries in batches])
    return lambda: sum(_send(client, *batch, first) for batch, first in zip(batches, firsts, strict=True))


def _send(client: Any, url: str, entries: Sequence[dict[str, Any]], first: Callable[..., Any]) -> int:
    """Send up to ten messages, and again those that SQS fails to accept. Return the number sent."""
    left = dict(enumerate(entries))
    for send in (first, *[client.send_message_batch] * (TRIES - 1)):
        try:
            answer = send(**_request(url, left))
        except (ClientError, BotoCoreError) as error:
            log.warning("messages.not_sent", count=len(left), error=type(error).__name__)
            break
        for sent in answer.get("Successful", ()):
            left.pop(int(sent["Id"]), None)
        if not left or all(failed.get("SenderFault") for failed in answer.get("Failed", ())):
            break
    return len(entries) - len(left)


def _request(url: str, entries: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    return {"QueueUrl": url, "Entries": [{"Id": str(number), **entry} for number, entry in entries.items()]}
