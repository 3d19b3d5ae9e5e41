"""What a fleet costs while there are no jobs: its polls, heartbeats and recovery's passes, by the workers that run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from jobclaim.fleet.workers import WorkerRecord
from jobclaim.infra.cost import HOURS, SQS_REQUEST, WRITE_UNIT, pass_of_recovery
from jobclaim.settings import Settings
from jobclaim.specs.plurals import counted
from jobclaim.workers.transport.idle import polls_per_hour


def at_rest(workers: Iterable[WorkerRecord], settings: Settings) -> str:
    """Describe the requests per hour and dollars per month of the live workers and one recovery; empty without workers.

    Makes no request: polls are counted by running the poller's own code, once for each size of worker.
    """
    sizes = Counter((len(worker.queues), worker.concurrency) for worker in workers if worker.queues)
    if not sizes:
        return ""
    polls = sum(polls_per_hour(*size, settings) * number for size, number in sizes.items())
    beats = round(sizes.total() * 3_600 / settings.heartbeat_seconds)
    passes = round(3_600 / settings.recovery_interval_seconds)
    each = pass_of_recovery(sizes.total(), len(settings.queue_names), settings.index_shards)
    dollars = HOURS * (polls * SQS_REQUEST + beats * WRITE_UNIT + passes * each)
    return (
        f"{counted(sizes.total(), 'live worker')} without jobs: {polls:,} polls, {beats:,} heartbeats and {passes:,} "
        f"recovery passes an hour, ${dollars:,.2f} a month at list prices of us-east-1 on demand (docs/scale.md), "
        "machines not included"
    )
