"""SQS's own dead-letter queues: messages that no worker could accept, and so never became or reached a job.

Redrive first sends a message to its queue again, then deletes it here: if it is killed in between, the message exists
twice, which the claim makes harmless. A message's content is used only to find its job; arguments are not shown.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.jobs.clock import Clock, system_clock
from jobclaim.jobs.errors import InvalidInput
from jobclaim.jobs.storage.connect import client
from jobclaim.settings import Settings

BATCH: Final = 10
HIDE_SECONDS: Final = 120
"""How long a message that a command reads is hidden from others: enough for a command, short enough after a crash."""
EMPTY_ANSWERS: Final = 2
"""Empty answers after which a queue counts as empty: SQS asks only some of its servers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadQueue:
    """One dead-letter queue: its waiting messages, and those that are being inspected."""

    queue: str
    name: str
    messages: int
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadMessage:
    """One message.

    Attributes
    ----------
    sent_at : int
        When it was first sent, epoch milliseconds.
    received : int
        Deliveries so far.
    task, job_id : str
        Task and job id from its headers; empty if they cannot be read.
    bytes : int
        Length of its body.
    reason : str
        Why the worker that moved it here could not accept it; empty if SQS moved it after too many deliveries.
    """

    message_id: str
    queue: str
    sent_at: int
    received: int
    bytes: int
    task: str = ""
    job_id: str = ""
    reason: str = ""


@dataclass(slots=True)
class MoveReport:
    """The number of messages that were seen, and of those that were moved or deleted."""

    seen: int = 0
    done: int = 0


class DeadQueues:
    """The dead-letter queues of a deployment.

    Parameters
    ----------
    sqs : optional
        A boto3 SQS client; default: made from settings.
    """

    def __init__(self, settings: Settings, sqs: Any = None, *, clock: Clock = system_clock) -> None:
        self._settings = settings
        self._clock = clock
        self._sqs = sqs if sqs is not None else client(settings, "sqs")

    def all(self) -> list[DeadQueue]:
        """Count the messages in each dead-letter queue; queues without one are left out."""
        found = []
        for queue in self._settings.queue_names:
            url = self._url(queue)
            if url is None:
                continue
            names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            answer = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            messages, in_flight = (int(answer.get(name, 0)) for name in names)
            name = self._settings.dead_letter_name(queue)
            found.append(DeadQueue(queue=queue, name=name, messages=messages, in_flight=in_flight))
        return found

    def inspect(self, queue: str, *, limit: int = 50) -> list[DeadMessage]:
        """Read messages and release them."""
        url = self._needed(queue)
        taken = list(self._take(url, limit))
        for message in taken:
            self._put_back(url, message)
        return [summary(queue, message) for message in taken]

    def redrive(
        self,
        queue: str,
        message_ids: Sequence[str] = (),
        *,
        limit: int = 10_000,
        tick: Callable[[], None] | None = None,
    ) -> MoveReport:
        """Send messages to their queue again: those that are here when this begins, or those with the ids.

        A message that fails again meanwhile comes back as a new one, and is left alone.
        """
        target = self._settings.queue_urls.get(queue)
        if target is None:
            target = self._sqs.get_queue_url(QueueName=self._settings.physical_name(queue))["QueueUrl"]

        def send(message: dict[str, Any]) -> None:
            attributes = message.get("MessageAttributes") or {}
            self._sqs.send_message(QueueUrl=target, MessageBody=message["Body"], MessageAttributes=attributes)

        return self._each(queue, message_ids, limit, send, tick)

    def discard(
        self,
        queue: str,
        message_ids: Sequence[str] = (),
        *,
        limit: int = 10_000,
        tick: Callable[[], None] | None = None,
    ) -> MoveReport:
        """Delete messages: all of them, or those with the ids."""
        return self._each(queue, message_ids, limit, lambda _: None, tick)

    def _each(
        self,
        queue: str,
        message_ids: Sequence[str],
        limit: int,
        act: Callable[[dict[str, Any]], None],
        tick: Callable[[], None] | None,
    ) -> MoveReport:
        url, report, kept, chosen_ids = self._needed(queue), MoveReport(), [], set(message_ids)
        began = self._clock()
        try:
            enough = (lambda: report.done == len(chosen_ids)) if chosen_ids else None
            for message in self._take(url, limit if not chosen_ids else 10_000, enough):
                report.seen += 1
                is_chosen = message["MessageId"] in chosen_ids if chosen_ids else sent_at(message) <= began
                if not is_chosen:
                    kept.append(message)
                    continue
                act(message)
                self._sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                report.done += 1
                if tick is not None:
                    tick()
        finally:
            for message in kept:
                self._put_back(url, message)
        return report

    def _take(self, url: str, limit: int, enough: Callable[[], bool] | None = None) -> Iterator[dict[str, Any]]:
        """Yield at most ``limit`` distinct messages, until the queue seems empty or ``enough()`` is true."""
        seen: set[str] = set()
        empty = 0
        while len(seen) < limit and empty < EMPTY_ANSWERS and not (enough and enough()):
            answer = self._sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=min(BATCH, limit - len(seen)),
                VisibilityTimeout=HIDE_SECONDS,
                WaitTimeSeconds=0,
                AttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
                MessageAttributeNames=["All"],
            )
            fresh = [message for message in answer.get("Messages", []) if message["MessageId"] not in seen]
            empty = 0 if fresh else empty + 1
            seen |= {message["MessageId"] for message in fresh}
            yield from fresh

    def _put_back(self, url: str, message: dict[str, Any]) -> None:
        self._sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)

    def _needed(self, queue: str) -> str:
        try:
            self._settings.queue(queue)
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        url = self._url(queue)
        if url is None:
            name = self._settings.dead_letter_name(queue)
            given = "create it, because `jobclaim up` does not change queues of queue_urls"
            remedy = given if queue in self._settings.queue_urls else "run `jobclaim up` to create it"
            raise InvalidInput(f"queue {queue!r} has no dead-letter queue {name!r}; {remedy}")
        return url

    def _url(self, queue: str) -> str | None:
        configured = self._settings.dead_letter_url(queue)
        try:
            if configured is None:
                return str(self._sqs.get_queue_url(QueueName=self._settings.dead_letter_name(queue))["QueueUrl"])
            # raises if the queue does not exist
            self._sqs.get_queue_attributes(QueueUrl=configured, AttributeNames=["QueueArn"])
        except self._sqs.exceptions.QueueDoesNotExist:
            return None
        return configured


def sent_at(message: dict[str, Any]) -> int:
    """Return when a message was first sent, epoch milliseconds."""
    return int(message.get("Attributes", {}).get("SentTimestamp", 0))


def summary(queue: str, message: dict[str, Any]) -> DeadMessage:
    """Summarize a message without its arguments."""
    attributes, headers = message.get("Attributes", {}), _headers(message["Body"])
    job = headers.get("jobclaim")
    job_id = job.get("job_id") if isinstance(job, dict) else headers.get("id")
    return DeadMessage(
        message_id=message["MessageId"],
        queue=queue,
        sent_at=sent_at(message),
        received=int(attributes.get("ApproximateReceiveCount", 0)),
        bytes=len(message["Body"].encode()),
        task=str(headers.get("task") or ""),
        job_id=str(job_id or ""),
        reason=str(message.get("MessageAttributes", {}).get("Reason", {}).get("StringValue", "")),
    )


def _headers(body: str) -> dict[str, Any]:
    """Read the Celery headers of a message body, plain or in base64 as kombu sends it; empty if it has none."""
    for text in (body, _decoded(body)):
        try:
            headers = json.loads(text)["headers"]
        except (ValueError, TypeError, KeyError):
            continue
        if isinstance(headers, dict):
            return headers
    return {}


def _decoded(body: str) -> str:
    try:
        return base64.b64decode(body, validate=True).decode()
    except ValueError:
        return ""
