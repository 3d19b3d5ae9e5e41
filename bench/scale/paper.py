"""What AWS's limits require at a rate of jobs, from the cost of a job, which `tests/contract/test_cost.py` measures.

All rates are per second. Limits are those that AWS documents; ask AWS for the quotas of your account.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jobclaim.infra import cost
from jobclaim.jobs.storage.counters import FLUSH_SECONDS

PARTITION_WRITES: Final = 1_000
"""Write units of one DynamoDB partition, so of one partition key (AWS, "Designing partition keys effectively")."""
FILL: Final = 0.7
"""Share of a limit to plan with."""
TABLE_QUOTA: Final = 40_000
"""Write units of an on-demand table, and of each index, without a quota increase (AWS, "Quotas in DynamoDB")."""
NEW_TABLE_WRITES: Final = 4_000
"""Write units that a new on-demand table takes at once (AWS, "Pre-warming a table")."""
IN_FLIGHT: Final = 120_000
"""Most messages of a standard queue that are received and not deleted (AWS, "Quotas related to queues")."""
COUNT_SECONDS: Final = FLUSH_SECONDS
TABLE_WRITES_PER_JOB: Final = 3
OPEN_WRITES_PER_JOB: Final = 2
LISTED_WRITES_PER_JOB: Final = 1
"""Create 1 + 1, claim 1 + 0, end 1 + 2, at 1 KB. The index has the entry of an ended job in a partition that all queues
share; without ``index_completed`` a completed job has none."""
SHARDS: Final = (4, 16, 32, 64)
PROVISIONED_WRITE_MONTH: Final = 0.00065 * cost.HOURS
"""Dollars per provisioned write unit per second, at list price."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of a service.

    Attributes
    ----------
    jobs : int
        Per second, all in one queue: the worst case for an index key.
    workers, concurrency : int
        Machines, and processes of each.
    body_seconds : float
        Duration of a body.
    held_seconds : float
        From a message's receipt to its deletion, which is sent in batches at the start of the body.
    shards : int
        `Settings.index_shards`.
    kept_days : float
        `Settings.completed_retention_days`.
    """

    jobs: int = 10_000
    workers: int = 2_000
    concurrency: int = 8
    body_seconds: float = 1.2
    held_seconds: float = 1.0
    shards: int = 32
    kept_days: float = 7.0

    @property
    def table_writes(self) -> int:
        """Return the write units in the table."""
        return self.jobs * TABLE_WRITES_PER_JOB

    @property
    def index_writes(self) -> int:
        """Return the write units in the index."""
        return self.jobs * (OPEN_WRITES_PER_JOB + LISTED_WRITES_PER_JOB)

    @property
    def processes(self) -> int:
        """Return how many bodies can run at a time."""
        return self.workers * self.concurrency

    @property
    def busy(self) -> float:
        """Return the share of the processes that run a body."""
        return self.jobs * self.body_seconds / self.processes

    @property
    def monthly_jobs(self) -> float:
        """Return the jobs in a month."""
        return self.jobs * cost.HOURS * 3_600


def partitions(writes: float) -> int:
    """Return the partitions needed for this many evenly spread write units."""
    return math.ceil(writes / PARTITION_WRITES / FILL)


def most_jobs(shards: int, fill: float = FILL) -> int:
    """Return the jobs per second that one queue's index keys allow."""
    return int(shards * PARTITION_WRITES * fill / OPEN_WRITES_PER_JOB)


def in_flight(load: Load, *, acks_late: bool) -> int:
    """Return the messages in flight: with ``acks_late`` for as long as a body lasts, with claims until the delete; plus
    those that wait in a worker, at most one per process."""
    held = load.body_seconds if acks_late else load.held_seconds
    return round(load.jobs * held) + load.processes


def beats(load: Load) -> tuple[float, float]:
    """Return the heartbeats of a fleet where no job starts, and of one where every worker starts a job each second."""
    return load.workers / 10, min(load.workers, load.jobs)


def dollars(load: Load) -> dict[str, float]:
    """Return dollars per month by service; DynamoDB on demand."""
    return cost.monthly(
        cost.Size("", load.monthly_jobs, load.workers, kept_days=load.kept_days, queues=2, cpu=1.0, memory=2.0)
    )


# --- tables
def limits_table(load: Load) -> str:
    """Return the requirements of the rate beside the limits, as a Markdown table."""
    return _markdown(("what", "needed", "AWS's limit", "so"), _limits(load))


def shards_table() -> str:
    """Return the capacity by number of index shards, as a Markdown table."""
    rows = [(f"{n}", f"{most_jobs(n):,}", f"{most_jobs(n, 1.0):,}") for n in SHARDS]
    return _markdown(("`index_shards`", "jobs/s of one queue, planned", "at the limit"), rows)


def cost_table(load: Load) -> str:
    """Return dollars per month, as a Markdown table."""
    by_service = dollars(load)
    rows = [(name, *_both(amount, load)) for name, amount in by_service.items()]
    rows.append(("**total**", *_both(sum(by_service.values()), load)))
    units = load.table_writes + load.index_writes
    provisioned = units / FILL * PROVISIONED_WRITE_MONTH
    rows.append(("DynamoDB's job writes, on demand", *_both(units * cost.HOURS * 3_600 * cost.WRITE_UNIT, load)))
    rows.append((f"the same, provisioned and {FILL:.0%} used", *_both(provisioned, load)))
    return _markdown(("", "$/month", "$/million jobs"), rows)


def _limits(load: Load) -> Iterator[tuple[str, ...]]:
    open_key, ended_key = (load.jobs * units / load.shards for units in (OPEN_WRITES_PER_JOB, LISTED_WRITES_PER_JOB))
    idle, busy = beats(load)
    yield _row("write units/s, table", load.table_writes, f"{TABLE_QUOTA:,} by default", "within the quota")
    yield _row("write units/s, index", load.index_writes, f"{TABLE_QUOTA:,} by default", "within the quota")
    warm = f"{NEW_TABLE_WRITES:,} when new"
    yield _row("write units/s at the start", load.table_writes, warm, "set the warm throughput of table and index")
    yield _row("partitions of the table", partitions(load.table_writes), "none", "job ids are random: even")
    yield _row(
        "partitions of the index", partitions(load.index_writes), f"{PARTITION_WRITES:,} units/s each",
        f"`index_shards={load.shards}`: {open_key:,.0f} units/s per open key, {ended_key:,.0f} per completed one",
    )  # fmt: skip
    yield _row("processes", load.processes, "", f"{load.busy:.0%} busy with bodies of {load.body_seconds:g} s")
    yield _row("heartbeats/s, nothing starts", idle, f"{PARTITION_WRITES:,} per partition", "a record per worker")
    yield _row("heartbeats/s, all start jobs", busy, f"{PARTITION_WRITES:,} per partition", "at most 1/s per worker")
    counting = PARTITION_WRITES * COUNT_SECONDS
    yield _row("processes that submit, at most", counting, f"{PARTITION_WRITES:,} per item", "each adds to one item")
    yield _row("SQS requests/s", load.jobs * cost.SQS_REQUESTS_PER_JOB, "nearly none", "standard queues")
    claims = in_flight(load, acks_late=False)
    yield _row("messages in flight, claims", claims, f"{IN_FLIGHT:,}", "however long bodies last")
    longest = (IN_FLIGHT - load.processes) / load.jobs
    yield _row(
        "the same with `acks_late=True`", in_flight(load, acks_late=True), f"{IN_FLIGHT:,}",
        f"full when bodies last {longest:.1f} s",
    )  # fmt: skip
    kept = load.jobs * 86_400 * load.kept_days * cost.ITEM_KB / 1e9
    yield _row("finished jobs kept, TB", kept, "none", f"{load.kept_days:g} days; `completed_retention_days`")


def _row(what: str, needed: float, limit: str, so: str) -> tuple[str, ...]:
    return what, f"{needed:,.0f}" if needed >= 100 else f"{needed:,.3g}", limit, so


def _both(amount: float, load: Load) -> tuple[str, str]:
    return f"${amount:,.0f}", f"${amount / load.monthly_jobs * 1e6:.2f}"


def _markdown(head: tuple[str, ...], rows: object) -> str:
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" + "---|" * (len(head) - 2)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])  # type: ignore[attr-defined]
