"""Numbers derived from the settings, so that no two of them can contradict each other."""

from __future__ import annotations

import math

from jobclaim.specs.configuration import Configuration
from jobclaim.specs.quotas import SQS_MAX_VISIBILITY


def longest_hard_limit(settings: Configuration, queue: str) -> int:
    """Return the longest hard limit of any task routed to the queue, in seconds; at least the queue's own."""
    routed = [settings.limits(task).hard for task in settings.tasks if settings.queue_of(task) == queue]
    return max([settings.queue(queue).hard_limit, *routed])


def visibility_timeout(settings: Configuration, queue: str) -> int:
    """Return the visibility timeout of a queue in seconds.

    The first term is the rule of thumb of long-running Celery services (soft 1680 < hard 1800 -> 3600). The second is
    the longest time that a message can wait inside a worker: behind earlier prefetched messages, through a stop, and
    until the request to delete it has arrived.
    """
    hard = longest_hard_limit(settings, queue)
    waits = settings.prefetch_multiplier * hard + settings.stop_timeout_seconds + settings.visibility_slack_seconds
    return max(math.ceil(settings.queue(queue).visibility_factor * hard), waits)


def claims_stop_after(settings: Configuration) -> int:
    """Return after how many seconds without a heartbeat a worker stops claiming: two heartbeats before it is lost.

    Jobs claimed until then are in its record one heartbeat later. The other heartbeat covers that request's latency and
    the difference between its clock and recovery's.
    """
    return settings.worker_dead_after_seconds - 2 * settings.heartbeat_seconds


def drain(settings: Configuration) -> float:
    """Return the seconds that running jobs get at a stop; the rest of the stop's time is for releasing them."""
    return settings.stop_timeout_seconds - min(10.0, settings.stop_timeout_seconds / 4)


def lease(settings: Configuration, queue: str, hard_limit: int | None = None) -> int:
    """Return the lease of a claim in seconds.

    A hard limit that only the code knows may exceed a fixed lease; the lease is then that limit + grace. The grace
    covers the work around the body: the claim's own round trip, the write of the result with its retries, and the
    difference between two machines' clocks.
    """
    hard = hard_limit or longest_hard_limit(settings, queue)
    fixed = settings.queue(queue).lease_seconds
    return fixed if fixed is not None and fixed > hard else hard + settings.lease_grace_seconds


def age_alarm(settings: Configuration, queue: str) -> int:
    """Return the age in seconds of the oldest message at which a queue misses its SLA: SLA + longest hard limit.

    SQS counts a message's age until it is deleted; a prefetched message may wait one hard limit inside a worker.
    """
    return math.ceil(settings.queue(queue).sla_seconds) + longest_hard_limit(settings, queue)


def redispatch_delay(settings: Configuration, queue: str, dispatches: int) -> float:
    """Return how long a due job may stay unclaimed before its message counts as lost; each dispatch doubles it."""
    first = max(float(settings.redispatch_min_seconds), 2 * settings.queue(queue).sla_seconds)
    return float(min(first * 2 ** min(dispatches - 1, 20), SQS_MAX_VISIBILITY))
