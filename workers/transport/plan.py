"""Decide which queue is polled for how many messages, and how long the poll may wait.

SQS hands out up to ten messages per request and hides them from every other worker, so a worker must never ask for more
than it can start. Each process of the pool is a slot, and a slot is in one of three places: at a message that is held
(received, not finished), at a request that is in progress and may return a message, or free. `slots` counts the free
ones, `plan` spends them, and their sum never exceeds the number of processes:

    messages held + messages asked for + free slots = processes + ahead

``ahead`` is 0 for all but the shortest tasks: it is how many messages the worker can finish in 50 ms, or on a slow line
in three of its round trips, so these find a free process when, or soon after, the answer arrives. Without it a worker
of no-ops spends more time waiting for SQS than working.

A queue has one request in progress, and while it is deep, one more for each answer that followed the one before at once
and had five messages or more, if ten slots are free: with one, a worker gets at most ten messages per round trip. The
others are short polls, so that they end with the backlog.

The requests, in this order:

1. A queue that is *due* (it has a backlog, or was not polled for a while) gets a short poll, which is answered
   at once: the highest first, for as many messages as are free, the next one when its answer is there. So a slot that
   comes free goes to the highest queue with a message. A queue that was found empty is not due again before a pause
   that doubles from ``recheck_seconds`` to a second.
2. When every queue was found empty, each gets a long poll for one message, the bell that wakes the worker; the
   remaining slots stay free for the first that answers. A worker on one queue long-polls for all its slots at once.
3. With fewer slots than queues, the higher queues keep bells of their own, and the last slot rotates among the others,
   a second each. Between two rotations rule 1 checks all of them.
4. In a quiet worker (for a minute it had no message, and a free process) with fewer than two slots a queue, every queue
   gets a long *spare* poll for one message, for which no slot is reserved. So a queue costs one request per long poll
   whatever the number of processes, and its first message comes at once. A message of a spare poll that finds no free
   process is released, by the rule of `unserved`.

Queues of equal priority take turns. Strict priority starves by design: as long as a higher queue has a backlog, a lower
one waits. To avoid that, ``strict_priority=False`` lets a queue rise by one priority for each second that it was not
asked, and no queue waits for the answer of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

MAX_MESSAGES: Final = 10
"""Messages that one ReceiveMessage can bring (AWS, "Amazon SQS API reference")."""
DEEP_MESSAGES: Final = 5
"""Messages in an answer from which on others are likely to wait. SQS may bring fewer than ten of many that wait."""
MOST_REQUESTS: Final = 4
"""Requests in progress of one queue: what a worker of ten processes or more may have ahead of them."""
SCARCE_WAIT_SECONDS: Final = 1
"""How long a bell may hold a slot that another queue may need."""
LONGEST_RECHECK_SECONDS: Final = 1.0
BLINK_SECONDS: Final = 0.05
SHORT_SECONDS: Final = 0.5
"""Up to how long jobs take for it to be worth having the next one ready: longer ones would hide it."""
SHORTEST_SECONDS: Final = 0.001
LONGEST_AHEAD_SECONDS: Final = 0.5
"""Ahead of a free process, a message waits here and is hidden elsewhere: at most this long, however slow the line."""
ROUND_TRIPS_AHEAD: Final = 3
"""A busy worker asks when half of what it has ahead is finished, and the answer comes a round trip later; with two, the
last message would be taken just then, and any delay leave processes idle."""
AHEAD_PER_PROCESS: Final = 3
QUIET_SECONDS: Final = 60.0
"""Without a message and with a free process for so long, a worker is quiet. Less would make spare polls that are left
over from the quiet, and whose messages are released, more frequent while jobs come now and then."""
KEPT_RECEIVES: Final = 3
"""A message that finds no free process is kept from this receive on: spare polls never raise its count further."""
NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Policy:
    """The constants of a worker's polling; times in seconds."""

    wait_seconds: int
    recheck_seconds: float
    strict: bool = True


@dataclass(slots=True)
class QueueState:
    """The state of one queue. Times are seconds of a monotonic clock.

    Attributes
    ----------
    releasable : bool
        Whether its redrive policy allows the receives of spare polls.
    asked : int
        Messages that the requests in progress may return; 0 if there is none.
    requests : int
        How many requests are in progress.
    listening : bool
        Whether a long poll is in progress.
    spare : bool
        Whether no slot is reserved for the request in progress.
    backlog : bool
        Whether the last answer had messages.
    depth : int
        How many answers in a row had so many, and came so soon, that more are likely to wait.
    found_empty : int
        Consecutive short polls without messages.
    failed_at, blocked_until : float
        The last error, and the end of the backoff after it.
    polls : list of Poll
        The requests in progress.
    """

    name: str
    priority: int = 5
    releasable: bool = True
    asked: int = 0
    requests: int = 0
    listening: bool = False
    spare: bool = False
    backlog: bool = False
    depth: int = 0
    found_empty: int = 0
    empty_at: float = NEVER
    asked_at: float = NEVER
    listened_at: float = NEVER
    failed_at: float = NEVER
    blocked_until: float = NEVER
    polls: list[Poll] = field(default_factory=list)

    def begin(self, poll: Poll) -> None:
        """Note that a request was started."""
        self.polls.append(poll)
        self._count()

    def end(self, poll: Poll) -> None:
        """Note that a request has ended."""
        self.polls.remove(poll)
        self._count()

    def _count(self) -> None:
        self.requests, self.asked = len(self.polls), sum(poll.count for poll in self.polls)
        self.listening, self.spare = any(poll.wait for poll in self.polls), any(poll.spare for poll in self.polls)

    def is_askable(self, free: int, now: float) -> bool:
        """Return whether a request may be started that has so many free slots."""
        if self.blocked_until > now:
            return False
        return not self.asked or (self.requests < min(1 + self.depth, MOST_REQUESTS) and free >= MAX_MESSAGES)


@dataclass(frozen=True, slots=True)
class Poll:
    """One ReceiveMessage: ``count`` messages at most, answered after ``wait`` seconds at the latest.

    No slot is reserved for a ``spare`` one.
    """

    queue: str
    count: int
    wait: int
    spare: bool = False


class Unserved(Enum):
    """What becomes of a message of a spare poll for which no process is free."""

    RELEASE = "visible at once"
    POSTPONE = "visible when the polls of other workers that are in progress now have ended"
    KEEP = "waits here for a process"


def receives_of(message: Mapping[str, Any]) -> int:
    """Return how often SQS has handed out a message; once where it does not say."""
    try:
        return int(message["Attributes"]["ApproximateReceiveCount"])
    except (KeyError, TypeError, ValueError):
        return 1


def unserved(message: Mapping[str, Any]) -> Unserved:
    """Decide what becomes of a message by how often it was received.

    The first time it is released, because another worker may have a free process. The second time it is postponed: many
    spare polls may be left over from the quiet before a burst, and they end meanwhile. The third time it is kept, so
    that SQS's redrive policy, which counts receives, never moves it away for this.
    """
    receives = receives_of(message)
    if receives >= KEPT_RECEIVES:
        return Unserved.KEEP
    return Unserved.RELEASE if receives <= 1 else Unserved.POSTPONE


def ahead_of(processes: int, finished: int, seconds_each: float, round_trip: float = 0.0) -> int:
    """Return how many messages to request ahead of free processes: at most `AHEAD_PER_PROCESS` for each.

    Not the pace at which messages are finished decides, but what the processes could do: that pace is low as well while
    they wait for messages, at the start of a backlog or over a slow line, and would keep them waiting.

    Parameters
    ----------
    finished : int
        Messages that the worker has finished lately; no more are requested ahead on so little evidence.
    seconds_each : float
        Seconds that a process was busy with each of these.
    round_trip : float
        Seconds that SQS takes to answer while it has messages.
    """
    seconds = BLINK_SECONDS
    if seconds_each < SHORT_SECONDS:
        seconds = min(max(BLINK_SECONDS, ROUND_TRIPS_AHEAD * round_trip), LONGEST_AHEAD_SECONDS)
    ahead = int(processes * seconds / max(seconds_each, SHORTEST_SECONDS))
    return min(AHEAD_PER_PROCESS * processes, finished, ahead)


def slots(processes: int, held: int, asked: int, ahead: int = 0) -> int:
    """Return how many messages may be requested now.

    With every process busy, a worker with messages ahead waits until half of them are finished: fuller answers, fewer
    requests.
    """
    free = processes + ahead - held - asked
    if held >= processes and 2 * free < ahead:
        return 0
    return max(free, 0)


def plan(queues: Sequence[QueueState], free: int, now: float, policy: Policy, *, quiet: bool = False) -> list[Poll]:
    """Spend the free slots, by the rules in the module's docstring."""
    askable = [queue for queue in queues if queue.is_askable(free, now)]
    if free <= 0 or not askable:
        return []
    if len(queues) == 1 and policy.wait_seconds:
        wait = 0 if askable[0].asked else policy.wait_seconds
        return [Poll(askable[0].name, min(free, MAX_MESSAGES), wait)]
    askable = in_order(askable, now, policy)
    due = [queue for queue in askable if _is_due(queue, now, policy, quiet=quiet)]
    if due or not policy.wait_seconds:
        return _look(due, queues, free, policy)
    if any(queue.asked and not queue.listening for queue in queues):
        return []  # its answer decides how the slots are used
    if quiet and _is_scarce(queues, free) and all(queue.releasable for queue in queues):
        return [Poll(queue.name, 1, policy.wait_seconds, spare=True) for queue in askable]
    return _listen(askable, free, policy)


def in_order(queues: Iterable[QueueState], now: float, policy: Policy) -> list[QueueState]:
    """Sort queues by priority; of equal ones, the one that was not polled for the longest time comes first."""

    def rank(queue: QueueState) -> tuple[float, float, str]:
        unasked = 0.0 if policy.strict or queue.asked_at == NEVER else now - queue.asked_at
        return -(queue.priority + unasked), queue.asked_at, queue.name

    return sorted(queues, key=rank)


def _is_due(queue: QueueState, now: float, policy: Policy, *, quiet: bool) -> bool:
    pause = min(policy.recheck_seconds * 2.0 ** min(queue.found_empty, 10), LONGEST_RECHECK_SECONDS)
    if quiet:  # long polls are as fast, and on a slow line the short polls would leave no time for them
        pause = max(pause, policy.wait_seconds)
    return queue.backlog or now - queue.empty_at >= pause


def _is_scarce(queues: Sequence[QueueState], free: int) -> bool:
    """Return whether there are fewer than two slots a queue, counting those that are reserved for long polls."""
    return free + sum(queue.asked for queue in queues if queue.listening and not queue.spare) < 2 * len(queues)


def _look(due: Sequence[QueueState], queues: Sequence[QueueState], free: int, policy: Policy) -> list[Poll]:
    """Return short polls of the due queues, in order."""
    polled = [queue.priority for queue in queues if queue.asked and not queue.listening]
    polls: list[Poll] = []
    for queue in due:
        count = min(free, MAX_MESSAGES if queue.backlog or policy.strict else 1)
        if count == 0 or (policy.strict and any(priority > queue.priority for priority in polled)):
            break
        polls.append(Poll(queue.name, count, 0))
        polled.append(queue.priority)
        free -= count
    return polls


def _listen(queues: Sequence[QueueState], free: int, policy: Policy) -> list[Poll]:
    if free >= 2 * len(queues):
        return [Poll(queue.name, 1, policy.wait_seconds) for queue in queues]
    wait = min(policy.wait_seconds, SCARCE_WAIT_SECONDS)
    if free < len(queues):
        fixed, others = queues[: free - 1], queues[free - 1 :]
        queues = [*fixed, min(others, key=lambda queue: queue.listened_at)]
    return [Poll(queue.name, 1, wait) for queue in queues]
