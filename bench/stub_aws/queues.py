"""SQS queues in memory: visibility, long polls, delays, redrive."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from bench.stub_aws.tables import AwsError


class Reply(Protocol):
    """The reply channel of a caller."""

    def __call__(self, answer: dict[str, Any]) -> None:
        """Send the response, once."""

    def is_open(self) -> bool:
        """Return whether the caller still waits."""


_MESSAGE_NUMBERS: Final = itertools.count()


@dataclass(slots=True, eq=False)
class Message:
    """One message and how often it was received."""

    id: str
    body: str
    md5: str
    attributes: dict[str, Any] | None
    received: int = 0


@dataclass(slots=True, eq=False)
class Waiter:
    """A waiting long poll."""

    count: int
    reply: Reply
    timer: asyncio.TimerHandle | None = None


class Queue:
    """One queue."""

    def __init__(self, url: str, attributes: dict[str, str], find: Callable[[str], Queue | None]) -> None:
        self.url = url
        self.attributes = attributes
        self._find = find
        self._loop = asyncio.get_running_loop()
        self.ready: deque[Message] = deque()
        self.in_flight: dict[str, Message] = {}
        self._expiries: list[tuple[float, int, str]] = []
        self._numbers = itertools.count()
        self._waiters: deque[Waiter] = deque()
        self.delayed = 0
        self.held_back = False

    def send(self, body: str, attributes: dict[str, Any] | None, delay: int) -> Message:
        """Add a message."""
        name = f"00000000-0000-4000-8000-{next(_MESSAGE_NUMBERS):012x}"
        message = Message(name, body, hashlib.md5(body.encode()).hexdigest(), attributes)  # noqa: S324
        if delay:
            self.delayed += 1
            self._loop.call_later(delay, self._appear, message)
        else:
            self.ready.append(message)
            self.wake()
        return message

    def receive(self, request: dict[str, Any], reply: Reply) -> None:
        """Answer a ReceiveMessage; a long poll may be answered later."""
        count = int(request.get("MaxNumberOfMessages", 1))
        wait = float(request.get("WaitTimeSeconds", self.attributes.get("ReceiveMessageWaitTimeSeconds", 0)) or 0)
        messages = self._take(count)
        if messages or not wait:
            reply({"Messages": messages} if messages else {})
            return
        waiter = Waiter(count, reply)
        waiter.timer = self._loop.call_later(wait, self._give_up, waiter)
        self._waiters.append(waiter)

    def delete(self, receipt: str) -> None:
        """Delete a message; a missing one is not an error."""
        self.in_flight.pop(receipt, None)

    def show_in(self, receipt: str, seconds: int) -> None:
        """Change when a message is visible again."""
        message = self.in_flight.get(receipt)
        if message is None:
            return
        if seconds:
            self._expire_in(seconds, receipt)
        else:
            self._return(receipt)
            self.wake()

    def depth(self) -> dict[str, str]:
        """Return SQS's three counts."""
        return {
            "ApproximateNumberOfMessages": str(len(self.ready)),
            "ApproximateNumberOfMessagesNotVisible": str(len(self.in_flight)),
            "ApproximateNumberOfMessagesDelayed": str(self.delayed),
        }

    def wake(self) -> None:
        """Answer long polls with the messages that are ready."""
        while self._waiters and self.ready and not self.held_back:
            waiter = self._waiters.popleft()
            if waiter.timer is not None:
                waiter.timer.cancel()
            if not waiter.reply.is_open():
                continue
            messages = self._take(waiter.count)
            waiter.reply({"Messages": messages} if messages else {})

    def tick(self) -> None:
        """Make messages visible again that were not deleted in time."""
        now = self._loop.time()
        while self._expiries and self._expiries[0][0] <= now:
            _, _, receipt = heapq.heappop(self._expiries)
            self._return(receipt)
        self.wake()

    def _take(self, count: int) -> list[dict[str, Any]]:
        taken: list[dict[str, Any]] = []
        while self.ready and len(taken) < count and not self.held_back:
            message = self.ready.popleft()
            message.received += 1
            receipt = f"{message.id}:{message.received}"
            self.in_flight[receipt] = message
            self._expire_in(int(self.attributes.get("VisibilityTimeout", 30)), receipt)
            taken.append(_shown(message, receipt))
        return taken

    def _return(self, receipt: str) -> None:
        message = self.in_flight.pop(receipt, None)
        if message is None:
            return
        redrive = json.loads(self.attributes.get("RedrivePolicy") or "{}")
        dead = self._find(redrive["deadLetterTargetArn"].rsplit(":", 1)[-1]) if redrive else None
        if dead is not None and message.received >= int(redrive["maxReceiveCount"]):
            dead.ready.append(message)
        else:
            self.ready.append(message)

    def _expire_in(self, seconds: int, receipt: str) -> None:
        heapq.heappush(self._expiries, (self._loop.time() + seconds, next(self._numbers), receipt))

    def _appear(self, message: Message) -> None:
        self.delayed -= 1
        self.ready.append(message)
        self.wake()

    def _give_up(self, waiter: Waiter) -> None:
        self._waiters.remove(waiter)
        waiter.reply({})


def _shown(message: Message, receipt: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "MessageId": message.id,
        "ReceiptHandle": receipt,
        "Body": message.body,
        "MD5OfBody": message.md5,
        "Attributes": {"ApproximateReceiveCount": str(message.received)},
    }
    return shown | ({"MessageAttributes": message.attributes} if message.attributes else {})


class Queues:
    """All queues, by name."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self.by_name: dict[str, Queue] = {}

    def handle(self, operation: str, request: dict[str, Any], reply: Reply) -> None:
        """Carry out one request."""
        simple = getattr(self, f"_{operation}", None)
        if operation == "ReceiveMessage":
            self._queue(request).receive(request, reply)
        elif simple is not None:
            reply(simple(request))
        else:
            raise AwsError("UnsupportedOperation", f"this stub knows no {operation}")

    def _queue(self, request: dict[str, Any]) -> Queue:
        queue = self.by_name.get(request["QueueUrl"].rsplit("/", 1)[-1])
        if queue is None:
            raise AwsError("QueueDoesNotExist", "The specified queue does not exist.")
        return queue

    def _CreateQueue(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - named as on the wire
        name = request["QueueName"]
        url = f"{self._base_url}/000000000000/{name}"
        if name not in self.by_name:
            arn = f"arn:aws:sqs:us-east-1:000000000000:{name}"
            self.by_name[name] = Queue(url, {"QueueArn": arn, **(request.get("Attributes") or {})}, self.by_name.get)
        return {"QueueUrl": url}

    def _GetQueueUrl(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"QueueUrl": self._queue({"QueueUrl": request["QueueName"]}).url}

    def _GetQueueAttributes(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        queue = self._queue(request)
        everything = queue.attributes | queue.depth()
        wanted = request.get("AttributeNames") or []
        return {"Attributes": {k: v for k, v in everything.items() if "All" in wanted or k in wanted}}

    def _SetQueueAttributes(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._queue(request).attributes.update(request["Attributes"])
        return {}

    def _SendMessage(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        sent = self._queue(request).send(
            request["MessageBody"], request.get("MessageAttributes"), int(request.get("DelaySeconds") or 0)
        )
        return {"MessageId": sent.id, "MD5OfMessageBody": sent.md5}

    def _SendMessageBatch(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        url = request["QueueUrl"]
        sent = [(entry["Id"], self._SendMessage({**entry, "QueueUrl": url})) for entry in request["Entries"]]
        return {"Successful": [{"Id": name, **answer} for name, answer in sent], "Failed": []}

    def _DeleteMessage(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._queue(request).delete(request["ReceiptHandle"])
        return {}

    def _DeleteMessageBatch(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        for entry in request["Entries"]:
            self._queue(request).delete(entry["ReceiptHandle"])
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]], "Failed": []}

    def _ChangeMessageVisibility(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._queue(request).show_in(request["ReceiptHandle"], int(request["VisibilityTimeout"]))
        return {}

    def _ChangeMessageVisibilityBatch(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        for entry in request["Entries"]:
            self._queue(request).show_in(entry["ReceiptHandle"], int(entry["VisibilityTimeout"]))
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]], "Failed": []}
