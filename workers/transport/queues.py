"""kombu's virtual channel on SQS: how it sends, gets and counts messages. `channel` adds what a worker receives.

kombu's own SQS transport is not used, because it loads boto3 and all that boto3 loads: 3 MB and 20 ms in every process
that sends a message. Its messages are the same.
"""

from __future__ import annotations

import base64
import string
from queue import Empty
from typing import Any, Final

from kombu.asynchronous import get_event_loop
from kombu.transport import virtual
from kombu.transport.virtual.base import queue_declare_ok_t
from kombu.utils.json import dumps

from jobclaim.settings import SQS_MAX_DELAY, Settings
from jobclaim.workers.transport.client import sqs_client
from jobclaim.workers.transport.inspect import Poison, read_envelope

SQS_NAME: Final = str.maketrans({**dict.fromkeys(set(string.punctuation) - set("-_."), "_"), ".": "-"})
"""Characters of a queue's name that SQS does not allow, as kombu replaces them."""


class QueueChannel(virtual.Channel):
    """A channel to the queues of the app's settings, which exist; it creates and deletes none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hub = get_event_loop()
        self._noack_queues: set[str] = set()
        known = self.transport_options["predefined_queues"]
        self._queue_cache: dict[str, str] = {name: queue["url"] for name, queue in known.items()}

    @property
    def transport_options(self) -> dict[str, Any]:
        """The options of the connection."""
        return self.connection.client.transport_options  # type: ignore[no-any-return]

    @property
    def settings(self) -> Settings:
        """The app's settings."""
        return self.transport_options["jobclaim_settings"]  # type: ignore[no-any-return]

    def sqs(self, queue: str | None = None) -> Any:
        """Return the process's one client, whatever the queue."""
        return sqs_client(self.settings)

    def queue_declare(self, queue: str | None = None, passive: bool = False, **kwargs: Any) -> Any:
        """Look up the queue's URL. kombu would also read the queue's length, on each connection, without using it."""
        self._new_queue(queue)
        return queue_declare_ok_t(queue, 0, 0)

    def _new_queue(self, queue: str | None, **kwargs: Any) -> str:
        """Return a queue's URL."""
        name = str(queue).translate(SQS_NAME)
        try:
            return self._queue_cache[name]
        except KeyError:
            from kombu.transport.SQS import UndefinedQueueException

            raise UndefinedQueueException(f"Queue with name '{name}' must be defined in 'predefined_queues'.") from None

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        """Keep the queue."""

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Send a message."""
        properties: dict[str, Any] = message["properties"]
        request: dict[str, Any] = {"QueueUrl": self._new_queue(queue)}
        if "message_attributes" in properties:
            request["MessageAttributes"] = properties.pop("message_attributes")
        if "MessageGroupId" in properties:
            request["MessageGroupId"] = properties["MessageGroupId"]
        if (seconds := delay_of(properties)) is not None:
            request["DelaySeconds"] = seconds
        text = dumps(message)
        encoded = self.transport_options.get("sqs_base64_encoding", True)
        self.sqs().send_message(**request, MessageBody=base64.b64encode(text.encode()).decode() if encoded else text)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        """Receive one message, for consumers without an event loop.

        Raises
        ------
        queue.Empty
        """
        url = self._new_queue(queue)
        answer = self.sqs().receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=1,
            WaitTimeSeconds=self.settings.wait_time_seconds,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        for raw in answer.get("Messages", ()):
            if queue in self._noack_queues:
                self.sqs().delete_message(QueueUrl=url, ReceiptHandle=raw["ReceiptHandle"])
            try:
                envelope = read_envelope(raw["Body"])
            except Poison:
                envelope = {"body": raw["Body"], "properties": {}}
            return received(envelope, raw, url)
        raise Empty

    def _size(self, queue: str) -> int:
        """Count the visible messages of a queue."""
        answer = self.sqs().get_queue_attributes(
            QueueUrl=self._new_queue(queue), AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def _purge(self, queue: str) -> int:
        """Delete all messages of a queue; return about how many there were."""
        size = self._size(queue)
        self.sqs().purge_queue(QueueUrl=self._new_queue(queue))
        return size


def received(envelope: dict[str, Any], raw: dict[str, Any], url: str) -> dict[str, Any]:
    """Add to an envelope where it was received."""
    properties = envelope["properties"]
    properties.setdefault("delivery_info", {}).update(sqs_message=raw, sqs_queue=url)
    properties["delivery_tag"] = raw["ReceiptHandle"]
    return envelope


def delay_of(properties: dict[str, Any]) -> int | None:
    """Return how many seconds SQS is to delay a message, at most as many as it can."""
    given = (properties[name] for name in ("delay_seconds", "DelaySeconds") if properties.get(name) is not None)
    delay = next(given, None)
    return None if delay is None else max(0, min(int(delay), SQS_MAX_DELAY))
