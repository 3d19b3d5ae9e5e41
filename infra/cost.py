"""Monthly cost of a deployment, from list prices and the AWS requests of a job.

``python -m jobclaim.infra.cost`` prints the table of docs/deploy.md. Prices are list prices of us-east-1.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

HOURS: Final = 730.0
"""Hours of a month, as AWS counts them."""
WRITE_UNIT: Final = 0.625e-6
READ_UNIT: Final = 0.125e-6
SQS_REQUEST: Final = 0.40e-6
FARGATE_VCPU_HOUR: Final = 0.04048
FARGATE_GB_HOUR: Final = 0.004445
LOG_GB: Final = 0.50
STORED_GB: Final = 0.25
ALARM: Final = 0.10
DASHBOARD: Final = 3.0
CUSTOM_METRIC: Final = 0.30

WRITE_UNITS_PER_JOB: Final = 6
"""Create 2, claim 1, complete 3, at 1 KB per item; without ``index_completed`` one less."""
SQS_REQUESTS_PER_JOB: Final = 2.3
"""Send, receive, delete; the last two in batches where there is a backlog. Measured: 2.3 with single messages."""
LOG_BYTES_PER_JOB: Final = 900
"""Three lines: submitted, claimed, completed."""
ITEM_KB: Final = 1.0
EMPTY_POLLS_PER_HOUR: Final = 360
"""Of one queue by one quiet worker, whatever its processes: a long poll of ten seconds."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a deployment.

    Attributes
    ----------
    jobs : float
        Jobs per month.
    tasks : float
        Average number of Fargate tasks that run workers.
    cpu, memory : float
        vCPUs and GB of memory of each Fargate task.
    queues : int
        Number of queues, including recovery's.
    kept_days : float
        Retention of finished jobs, days.
    """

    name: str
    jobs: float
    tasks: float
    cpu: float = 1.0
    memory: float = 2.0
    queues: int = 2
    kept_days: float = 7.0


SIZES: Final = (
    Size("small: 100,000 jobs", 1e5, 1, cpu=0.5, memory=1.0),
    Size("medium: 5 million jobs", 5e6, 4, queues=4),
    Size("large: 100 million jobs", 1e8, 40, queues=8),
)


def monthly(size: Size) -> dict[str, float]:
    """Return dollars per month by service."""
    return {
        "DynamoDB": size.jobs * WRITE_UNITS_PER_JOB * WRITE_UNIT + _fleet(size) + _stored(size),
        "SQS": size.jobs * SQS_REQUESTS_PER_JOB * SQS_REQUEST + _polls(size),
        "Fargate, workers": size.tasks * HOURS * (size.cpu * FARGATE_VCPU_HOUR + size.memory * FARGATE_GB_HOUR),
        "Fargate, beat and recovery": 2 * HOURS * (0.25 * FARGATE_VCPU_HOUR + 0.5 * FARGATE_GB_HOUR),
        "logs, alarms, dashboard": size.jobs * LOG_BYTES_PER_JOB / 1e9 * LOG_GB + _signals(size),
    }


def table() -> str:
    """Return the sizes side by side as a Markdown table."""
    columns = [monthly(size) for size in SIZES]
    lines = [f"| | {' | '.join(size.name for size in SIZES)} |", "|---|" + "---:|" * len(SIZES)]
    lines += [f"| {name} | {' | '.join(_dollars(column[name]) for column in columns)} |" for name in columns[0]]
    lines.append(f"| **total** | {' | '.join(f'**{_dollars(sum(column.values()))}**' for column in columns)} |")
    per_million = [sum(column.values()) / size.jobs * 1e6 for column, size in zip(columns, SIZES, strict=True)]
    lines.append(f"| per million jobs | {' | '.join(map(_dollars, per_million))} |")
    return "\n".join(lines)


def _fleet(size: Size) -> float:
    """Return the price of heartbeats, every ten seconds and at most once a second when jobs start, and of recovery's
    passes, every ten seconds.
    """
    seconds = size.tasks * HOURS * 3600
    beats = ((size.tasks + 1) * HOURS * 360 + min(size.jobs, seconds)) * WRITE_UNIT
    return beats + HOURS * 360 * pass_of_recovery(size.tasks, size.queues)


def pass_of_recovery(workers: float, queues: int, shards: int = 4) -> float:
    """Return dollars of one pass that finds nothing to do: writes its cursor, scans the fleet table, queries queues."""
    return WRITE_UNIT + READ_UNIT * (1 + workers / 16 + queues * shards)


def _stored(size: Size) -> float:
    """Return the price of storing finished jobs until they expire, with their copy for point-in-time recovery ($0.20
    per GB).
    """
    return size.jobs / 30 * size.kept_days * ITEM_KB / 1e6 * (STORED_GB + 0.20)


def _polls(size: Size) -> float:
    return (size.tasks * (size.queues - 1) + 1) * EMPTY_POLLS_PER_HOUR * HOURS * SQS_REQUEST


def _signals(size: Size) -> float:
    return (2 * size.queues + 3) * ALARM + DASHBOARD + 8 * CUSTOM_METRIC


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}" if amount < 100 else f"${amount:,.0f}"


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
