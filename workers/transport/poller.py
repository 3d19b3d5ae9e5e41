"""Makes the requests that `jobclaim.workers.transport.plan` decides on, in the worker's event loop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from jobclaim.jobs.log import get_logger
from jobclaim.workers.transport.http import Answer, Failed
from jobclaim.workers.transport.outage import Outage
from jobclaim.workers.transport.plan import (
    LONGEST_AHEAD_SECONDS,
    NEVER,
    Policy,
    Poll,
    QueueState,
    ahead_of,
    plan,
    slots,
)

log = get_logger("jobclaim.transport")

PACE_SECONDS: Final = 0.5
NEWEST_SHARE: Final = 0.3
"""Weight of the newest round trip in their moving average."""


class Ask(Protocol):
    """Starts one ReceiveMessage and calls back with its answer, exactly once unless it raises."""

    def __call__(self, poll: Poll, done: Callable[[Answer], None]) -> None: ...


class PollPace:
    """The number of finished messages per second, over the last half second."""

    def __init__(self) -> None:
        self._finished: deque[tuple[float, int]] = deque()
        self._count = 0

    def finished(self, count: int, now: float) -> None:
        """Record that so many messages were finished."""
        if count > 0:
            self._finished.append((now, count))
            self._count += count

    def per_second(self, now: float) -> float:
        """Return the pace."""
        while self._finished and self._finished[0][0] < now - PACE_SECONDS:
            self._count -= self._finished.popleft()[1]
        return self._count / PACE_SECONDS


class Poller:
    """The polls of one channel.

    Parameters
    ----------
    policy : Policy
    ask : callable
        Makes a request.
    deliver : callable
        Called with the messages of a queue.
    clock : callable
        Seconds of a monotonic clock.
    """

    def __init__(
        self,
        policy: Policy,
        ask: Ask,
        deliver: Callable[[str, list[dict[str, Any]]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._ask = ask
        self._deliver = deliver
        self._clock = clock
        self._queues: dict[str, QueueState] = {}
        self._outages: dict[str, Outage] = {}
        self._pace = PollPace()
        self._round_trip = 0.0
        self._delivered = self._finished = 0
        self.processes: Callable[[], int] = lambda: 1
        self.held: Callable[[], int] = lambda: 0
        self.paused: Callable[[], bool] = lambda: False
        self.is_paused: Callable[[str], bool] = lambda _: False

    @property
    def queues(self) -> Mapping[str, QueueState]:
        """The state of each queue, by name."""
        return self._queues

    @property
    def asked(self) -> int:
        """Messages that the requests in progress may return."""
        return sum(queue.asked for queue in self._queues.values())

    def add(self, name: str, priority: int) -> None:
        """Poll a queue from now on."""
        self._queues.setdefault(name, QueueState(name, priority))
        self._outages.setdefault(name, Outage("polling SQS", self._clock, queue=name))

    def remove(self, name: str) -> None:
        """Stop polling a queue; a request in progress is still answered, and its messages are delivered."""
        self._queues.pop(name, None)

    def tick(self) -> None:
        """Start the requests that are possible now; call this after each event, and a few times a second."""
        if self._queues and not self.paused():
            now = self._clock()
            # a paused queue whose last request is in progress still counts, but is not asked again
            queues = [queue for queue in self._queues.values() if queue.asked or not self.is_paused(queue.name)]
            for poll in plan(queues, self._free(now), now, self._policy):
                self._start(poll, now)

    def _free(self, now: float) -> int:
        processes, held = self.processes(), self.held()
        finished = self._delivered - held
        self._pace.finished(finished - self._finished, now)
        self._finished = finished
        ahead = ahead_of(processes, self._pace.per_second(now), self._round_trip)
        return slots(processes, held, self.asked, ahead)

    def _start(self, poll: Poll, now: float) -> None:
        queue = self._queues[poll.queue]
        queue.asked, queue.listening, queue.asked_at = poll.count, poll.wait > 0, now
        if poll.wait:
            queue.listened_at = now
        try:
            self._ask(poll, lambda answer: self._answered(queue, poll, answer))
        except Exception as error:  # noqa: BLE001 - no credentials, no name: it is waited for like an outage
            self._answered(queue, poll, Failed(0, f"{type(error).__name__}: {error}"))

    def _answered(self, queue: QueueState, poll: Poll, answer: Answer) -> None:
        now = self._clock()
        queue.asked, queue.listening = 0, False
        if isinstance(answer, Failed):
            queue.backlog, queue.empty_at = False, NEVER
            queue.blocked_until = now + self._outages[queue.name].failed(answer.reason)
            return
        self._outages[queue.name].succeeded()
        messages = answer.get("Messages") or []
        took = now - queue.asked_at
        if messages and queue.backlog and took < LONGEST_AHEAD_SECONDS:  # SQS had no reason to wait, and did not stall
            self._round_trip += NEWEST_SHARE * (took - self._round_trip)
        self._note(queue, poll, bool(messages), now)
        if messages:
            self._delivered += len(messages)
            self._deliver(queue.name, messages)

    @staticmethod
    def _note(queue: QueueState, poll: Poll, brought: bool, now: float) -> None:
        queue.backlog = brought
        queue.empty_at = NEVER if brought else now
        queue.found_empty = 0 if brought or poll.wait else queue.found_empty + 1
