"""What a worker without jobs costs, by its number of queues and processes.

Its heartbeats are one write unit each; recovery's passes, of which there is one for all workers, are in the tables of
prices.
"""

from __future__ import annotations

from typing import Final

from jobclaim.infra.cost import SQS_REQUEST, WRITE_UNIT
from jobclaim.settings import Settings
from jobclaim.workers.transport.idle import polls_per_hour

QUEUES: Final = (1, 2, 4, 8)
PROCESSES: Final = (1, 2, 4, 8, 16)


def table(settings: Settings) -> str:
    """Return polls per hour and queue, and dollars per worker and day, as a Markdown table."""
    beats = 86_400 / settings.heartbeat_seconds * WRITE_UNIT
    lines = [f"|  | {' | '.join(f'-c {count}' for count in PROCESSES)} |", "|---|" + "---:|" * len(PROCESSES)]
    for queues in QUEUES:
        polls = [polls_per_hour(queues, processes, settings) for processes in PROCESSES]
        cells = [f"{count / queues:,.0f} (${count * 24 * SQS_REQUEST + beats:.2f})" for count in polls]
        lines.append(f"| {queues} queue{'s' * (queues > 1)} | {' | '.join(cells)} |")
    return "\n".join(lines)
