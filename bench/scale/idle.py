"""What a worker without jobs costs: its polls are counted by driving the real `Poller` with empty answers.

Its heartbeats are one write unit each; recovery's passes, of which there is one for all workers, are in the tables of
prices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from jobclaim.infra.cost import SQS_REQUEST, WRITE_UNIT
from jobclaim.settings import Settings
from jobclaim.workers.transport.plan import Policy, Poll
from jobclaim.workers.transport.poller import Poller

QUEUES: Final = (1, 2, 4, 8)
PROCESSES: Final = (1, 2, 4, 8, 16)
SECONDS: Final = 900
STEP_SECONDS: Final = 0.1


def polls_per_hour(queues: int, processes: int, settings: Settings) -> int:
    """Return the requests of an idle worker, all queues together."""
    now, made = 0.0, 0
    waiting: list[tuple[float, Callable[[Any], None]]] = []

    def ask(poll: Poll, done: Callable[[Any], None]) -> None:
        nonlocal made
        made += 1
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
    return round(made * 3_600 / SECONDS)


def table(settings: Settings) -> str:
    """Return polls per hour and queue, and dollars per worker and day, as a Markdown table."""
    beats = 86_400 / settings.heartbeat_seconds * WRITE_UNIT
    lines = [f"|  | {' | '.join(f'-c {count}' for count in PROCESSES)} |", "|---|" + "---:|" * len(PROCESSES)]
    for queues in QUEUES:
        polls = [polls_per_hour(queues, processes, settings) for processes in PROCESSES]
        cells = [f"{count / queues:,.0f} (${count * 24 * SQS_REQUEST + beats:.2f})" for count in polls]
        lines.append(f"| {queues} queue{'s' * (queues > 1)} | {' | '.join(cells)} |")
    return "\n".join(lines)
