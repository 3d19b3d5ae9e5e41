"""SQS as its documentation promises it and no better: messages late, out of order, more than once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from tests.simulation.faults import Faults
from tests.simulation.world import World

TASK: Final = "work"
SLOWNESS_MS: Final = (500, 5_000, 40_000, 150_000)


@dataclass(frozen=True, slots=True)
class Message:
    """One message: the job, and the attempt that it may start; ``None`` where it names none."""

    job_id: str
    attempt: int | None
    visible_at: int
    task: str = TASK
    sent_at: int = 0
    forged: bool = False


class Queue:
    """One queue. Its messages are acknowledged when they are received; ``observer`` is told of each that is sent."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        observer: Callable[[str, int | None], None],
        *,
        name: str = "default",
        kept_ms: int | None = None,
    ) -> None:
        self._world = world
        self._kept_ms = kept_ms
        self._observer = observer
        self._faults = faults
        self._random: Random = world.stream("queue" if name == "default" else f"queue/{name}")
        self._messages: list[Message] = []

    def send(self, job_id: str, attempt: int | None, delay_seconds: float) -> None:
        """Take a message.

        Raises
        ------
        ConnectionError
            It may have been taken all the same.
        """
        self._observer(job_id, attempt)
        fails = self._faults.strike("send-failure", self._random)
        if fails and self._random.random() < 0.5:
            raise ConnectionError("the queue cannot be reached")
        slow = self._random.choice(SLOWNESS_MS) if self._faults.strike("slow-message", self._random) else 0
        now = self._world.now
        self._messages.append(Message(job_id, attempt, now + round(delay_seconds * 1000) + slow, sent_at=now))
        if fails:
            raise ConnectionError("the queue did not answer")

    def forge(self, job_id: str, attempt: int | None, task: str) -> None:
        """Take the message of a stranger: at once, and of whatever task he likes."""
        now = self._world.now
        self._messages.append(Message(job_id, attempt, now, task, sent_at=now, forged=True))

    def receive(self) -> Message | None:
        """Give any of the messages that wait, and forget it, or not."""
        self._forget_old()
        waiting = [message for message in self._messages if message.visible_at <= self._world.now]
        if not waiting:
            return None
        message = self._random.choice(waiting)
        self._messages.remove(message)
        if self._faults.strike("twice", self._random):
            again = self._world.now + self._random.choice((0, *SLOWNESS_MS))
            self._messages.append(replace(message, visible_at=again))
        return None if self._faults.strike("lost-message", self._random) else message

    def backlog(self) -> int:
        """Count the messages that wait, about."""
        self._forget_old()
        waiting = sum(message.visible_at <= self._world.now for message in self._messages)
        return self._random.choice((0, waiting + 1)) if self._faults.strike("rough-count", self._random) else waiting

    def _forget_old(self) -> None:
        """Drop what was kept for too long, however often it came."""
        if self._kept_ms is not None:
            oldest = self._world.now - self._kept_ms
            self._messages = [message for message in self._messages if message.sent_at >= oldest]
