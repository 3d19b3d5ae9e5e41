"""How often a worker without jobs polls: counted by running its own `Poller` with empty answers, without requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from jobclaim.settings import Settings
from jobclaim.workers.transport.plan import Policy, Poll
from jobclaim.workers.transport.poller import Poller

FROM_SECONDS: Final = 60
"""Counted from then on: the first polls of a worker are short."""
SECONDS: Final = 960
STEP_SECONDS: Final = 0.1


def polls_per_hour(queues: int, processes: int, settings: Settings) -> int:
    """Return the requests of an idle worker, all queues together."""
    now, count = 0.0, 0
    waiting: list[tuple[float, Callable[[Any], None]]] = []

    def ask(poll: Poll, done: Callable[[Any], None]) -> None:
        nonlocal count
        count += now >= FROM_SECONDS
        waiting.append((now + max(poll.wait, STEP_SECONDS), done))

    policy = Policy(settings.wait_time_seconds, settings.polling_interval_seconds, settings.strict_priority)
    poller = Poller(policy, ask, lambda *_: None, lambda: now)
    poller.processes = lambda: processes
    for number in range(queues):
        poller.add(f"queue-{number}", 5)
    for step in range(round(SECONDS / STEP_SECONDS)):
        now = step * STEP_SECONDS
        for due in [one for one in waiting if one[0] <= now]:
            waiting.remove(due)
            due[1]({})
        poller.tick()
    return round(count * 3_600 / (SECONDS - FROM_SECONDS))
