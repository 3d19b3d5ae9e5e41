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
    DEEP_MESSAGES,
    LONGEST_AHEAD_SECONDS,
    NEVER,
    QUIET_SECONDS,
    Policy,
    Poll,
    QueueState,
    Unserved,
    ahead_of,
    plan,
    slots,
    unserved,
)

log = get_logger("jobclaim.transport")

PACE_SECONDS: Final = 0.5
NEWEST_SHARE: Final = 0.3
"""Weight of the newest round trip in their moving average."""


class Ask(Protocol):
    """Starts one ReceiveMessage and calls back with its answer, exactly once unless it raises."""

    def __call__(self, poll: Poll, done: Callable[[Answer], None]) -> None: ...


class PollPace:
    """What the worker has finished over the last half second, and how long its processes were busy with it."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int, float]] = deque()
        self.finished, self._spent = 0, 0.0
        self._busy, self._at = 0, 0.0

    def note(self, finished: int, busy: int, now: float) -> None:
        """Record how many messages were finished since the last call, and how many processes are busy from now on."""
        spent = self._busy * (now - self._at)
        self._busy, self._at = busy, now
        self._noted.append((now, finished, spent))
        self.finished, self._spent = self.finished + finished, self._spent + spent
        while self._noted[0][0] < now - PACE_SECONDS:
            _, finished, spent = self._noted.popleft()
            self.finished, self._spent = self.finished - finished, self._spent - spent

    @property
    def seconds_each(self) -> float:
        """The seconds that a process was busy per finished message; waiting for messages does not count."""
        return self._spent / self.finished if self.finished else PACE_SECONDS


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
        Returns seconds of a monotonic clock.
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
        self._stirred_at = NEVER
        self.release: Callable[[str, dict[str, Any], Unserved], None] = lambda *_: None
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

    def add(self, name: str, priority: int, *, releasable: bool = True) -> None:
        """Poll a queue from now on; see `QueueState` for the parameters."""
        self._queues.setdefault(name, QueueState(name, priority, releasable))
        self._outages.setdefault(name, Outage("polling SQS", self._clock, queue=name))

    def remove(self, name: str) -> None:
        """Stop polling a queue; a request in progress is still answered, and its messages are delivered."""
        self._queues.pop(name, None)

    def tick(self) -> None:
        """Start the requests that are possible now; call this after each event, and a few times a second."""
        if self._queues and not self.paused():
            now = self._clock()
            # a paused queue with requests in progress still counts, but is not asked again
            queues = [queue for queue in self._queues.values() if queue.asked or not self.is_paused(queue.name)]
            free = self._free(now)
            for poll in plan(queues, free, now, self._policy, quiet=now - self._stirred_at >= QUIET_SECONDS):
                if not (self._queues[poll.queue].asked and self.is_paused(poll.queue)):
                    self._start(poll, now)

    def _free(self, now: float) -> int:
        processes, held = self.processes(), self.held()
        finished = self._delivered - held
        self._pace.note(max(0, finished - self._finished), min(held, processes), now)
        self._finished = finished
        if held >= processes:
            self._stirred_at = now
        ahead = ahead_of(processes, self._pace.finished, self._pace.seconds_each, self._round_trip)
        return slots(processes, held, sum(queue.asked for queue in self._queues.values() if not queue.spare), ahead)

    def _start(self, poll: Poll, now: float) -> None:
        queue = self._queues[poll.queue]
        queue.begin(poll)
        queue.asked_at = now
        if poll.wait:
            queue.listened_at = now
        try:
            self._ask(poll, lambda answer: self._answered(queue, poll, now, answer))
        except Exception as error:  # noqa: BLE001 - missing credentials or a failed name lookup are an outage, too
            self._answered(queue, poll, now, Failed(0, f"{type(error).__name__}: {error}"))

    def _answered(self, queue: QueueState, poll: Poll, asked_at: float, answer: Answer) -> None:
        now = self._clock()
        queue.end(poll)
        if isinstance(answer, Failed):
            queue.backlog, queue.depth, queue.empty_at = False, 0, NEVER
            if asked_at >= queue.failed_at:  # of several requests that fail together, one counts
                queue.failed_at = now
                queue.blocked_until = now + self._outages[queue.name].failed(answer.reason)
            return
        self._outages[queue.name].succeeded()
        messages = answer.get("Messages") or []
        took = now - asked_at
        # whether SQS had no reason to wait, and did not stall
        is_prompt = bool(messages) and queue.backlog and took < LONGEST_AHEAD_SECONDS
        if is_prompt:
            self._round_trip += NEWEST_SHARE * (took - self._round_trip)
        self._note(queue, poll, bool(messages), now)
        queue.depth = queue.depth + 1 if is_prompt and len(messages) >= DEEP_MESSAGES else 0
        if messages:
            self._stirred_at = now
            if poll.spare and not self._is_process_free():
                messages = [message for message in messages if not self._is_released(queue.name, message)]
        if messages:
            self._delivered += len(messages)
            self._deliver(queue.name, messages)

    def _is_process_free(self) -> bool:
        """Return whether a process stays free even if each short poll in progress brings as many messages as it may."""
        looks = sum(queue.asked for queue in self._queues.values() if not queue.listening)
        return slots(self.processes(), self.held(), looks) > 0

    def _is_released(self, queue: str, message: dict[str, Any]) -> bool:
        """Release a message for which no process is free, unless it must be kept."""
        fate = unserved(message)
        if fate is not Unserved.KEEP:
            self.release(queue, message, fate)
        return fate is not Unserved.KEEP

    @staticmethod
    def _note(queue: QueueState, poll: Poll, brought: bool, now: float) -> None:
        queue.backlog = brought
        queue.empty_at = NEVER if brought else now
        queue.found_empty = 0 if brought or poll.wait else queue.found_empty + 1
