"""The faults that a request to SQS or DynamoDB may meet on its way; `verify.proxy` makes them happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobclaim.verify import forging

SENDS: Final = ("SendMessage", "SendMessageBatch")
"""Operations that faults of messages happen to."""


@dataclass(frozen=True)
class Fault:
    """What the proxy does with a request instead of, or in addition to, passing it on.

    Attributes
    ----------
    status : int
        Answers with this status, if it is not 0.
    body : bytes
    resets : bool
        Cuts the connection with a TCP reset.
    silent : bool
        Accepts the request and never answers.
    response_lost : bool
        Passes the request on, so that it takes effect, and resets the connection instead of answering.
    copied_within : int
        Passes messages on twice; the copy may be delayed by up to so many seconds.
    discards : bool
        Sends messages to `FaultyProxy.discard_url` instead of their queue, and reports success.
    adds : callable, optional
        Returns an additional message, made from a message and an earlier one; ``None`` if it cannot.
    """

    name: str
    status: int = 0
    body: bytes = b""
    resets: bool = False
    silent: bool = False
    response_lost: bool = False
    copied_within: int = 0
    discards: bool = False
    adds: forging.Forge | None = None

    @property
    def is_of_messages(self) -> bool:
        """Whether it concerns messages, and therefore only sends."""
        return self.discards or bool(self.copied_within) or self.adds is not None


def error(status: int) -> Fault:
    """An error page, as a load balancer sends it."""
    return Fault(f"HTTP {status}", status, b"<html><body>sorry</body></html>")


THROTTLE: Final = Fault("throttling", 400, b'{"__type":"com.amazonaws.sqs#RequestThrottled","message":"Rate exceeded"}')
RESET: Final = Fault("reset", resets=True)
BLACK_HOLE: Final = Fault("black hole", silent=True)
TABLE_THROTTLE: Final = Fault(
    "throttling",
    400,
    b'{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"Slow down"}',
)
RESPONSE_LOST: Final = Fault("response lost", response_lost=True)
MESSAGE_COPIED: Final = Fault("message copied", copied_within=10)
MESSAGE_LOST: Final = Fault("message lost", discards=True)
MESSAGE_REPLAYED: Final = Fault("old message replayed", adds=forging.old)
MESSAGE_MISADDRESSED: Final = Fault("message of another task forged", adds=forging.misaddressed)
MESSAGE_EARLY: Final = Fault("message long before its time forged", adds=forging.early)
