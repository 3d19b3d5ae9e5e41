"""Queues: how long their jobs may wait and run, and presets to start from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator

from jobclaim.specs.base import Count, Seconds, Spec
from jobclaim.specs.quotas import DEAD_LETTER_SUFFIX
from jobclaim.specs.refusals import check_limits

FIFO_SUFFIX: Final = ".fifo"
NO_FIFO: Final = (
    "FIFO queues are not supported: a job is claimed once however often it is delivered, idempotency_key merges "
    "equal calls, and fair_by is fair to tenants; use a standard queue"
)


class QueueSpec(Spec):
    """One queue: how long its jobs may wait, and how long its tasks may run."""

    name: str
    """Logical name, as in ``-Q`` and in routes. SQS sees ``queue_prefix + name``."""
    priority: Annotated[int, Field(ge=0, le=10)] = 5
    """0 to 10, higher first. A worker polls its queues in this order; see `Settings.strict_priority` for starvation."""
    sla_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Longest acceptable wait from submission to claim, in seconds. Alarms, autoscaling and redispatch use it: too low,
    and copies of its messages are sent to a queue with a backlog; too high, and a lost message is sent again late."""
    soft_limit: Seconds = 1680
    """Seconds after which `SoftTimeLimitExceeded` is raised in a task; it may clean up until ``hard_limit``."""
    hard_limit: Seconds = 1800
    """Seconds after which the process that runs a task is killed. Lease and visibility timeout are derived from it."""
    visibility_factor: Annotated[float, Field(ge=1)] = 2.0
    """Visibility timeout as a multiple of the longest hard limit routed here; 2 is usual for long-running services."""
    lease_seconds: Seconds | None = None
    """Lease of a claim in seconds. Default: hard limit + `Settings.lease_grace_seconds`. A longer lease only delays the
    recovery of orphans."""
    concurrency: Count = 4
    """Processes of a worker that consumes only this queue; each runs one job at a time."""
    max_receive_count: Count = 5
    """Deliveries before SQS moves a message to the dead-letter queue. With 1, a message that a stopping worker releases
    becomes a dead letter. Below 4, an idle worker with fewer than two processes a queue polls ten times as often."""
    adopt_plain_messages: bool | None = None
    """Whether its workers accept messages that name no job, as plain Celery sends them; default
    `Settings.adopt_plain_messages`. Where it is off, they go to the dead-letter queue."""

    @field_validator("name")
    @classmethod
    def _legal_name(cls, name: str) -> str:
        if name.endswith(FIFO_SUFFIX):
            raise ValueError(f"queue name {name!r}: {NO_FIFO}")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"queue name {name!r} is not allowed in SQS; use letters, digits, '-' and '_' only")
        if name.endswith(DEAD_LETTER_SUFFIX):
            raise ValueError(
                f"queue name {name!r} ends in {DEAD_LETTER_SUFFIX!r}, which is reserved for dead-letter queues; "
                "rename it"
            )
        return name

    @model_validator(mode="after")
    def _limits_in_order(self) -> QueueSpec:
        check_limits(f"queue {self.name!r}", self.soft_limit, self.hard_limit)
        if self.lease_seconds is not None and self.lease_seconds <= self.hard_limit:
            raise ValueError(
                f"queue {self.name!r}: lease_seconds={self.lease_seconds} must be above hard_limit={self.hard_limit}, "
                "otherwise running jobs are treated as orphans; raise lease_seconds or leave it out"
            )
        return self


QUEUE_PRESETS: Final[Mapping[str, tuple[QueueSpec, ...]]] = {
    # one queue for each kind of work, each with workers of its own
    "documents": (
        QueueSpec(name="documents", priority=5, sla_seconds=60, soft_limit=840, hard_limit=900),
        QueueSpec(name="websites", priority=5, sla_seconds=60, soft_limit=540, hard_limit=600),
        QueueSpec(name="notifications", priority=8, sla_seconds=5, soft_limit=50, hard_limit=60),
    ),
    # long jobs with few processes each, beside many short ones
    "service": (
        QueueSpec(name="ai", priority=5, sla_seconds=30, soft_limit=1680, hard_limit=1800, concurrency=4),
        QueueSpec(name="data", priority=4, sla_seconds=120, soft_limit=1680, hard_limit=1800, concurrency=2),
        QueueSpec(name="notifications", priority=8, sla_seconds=5, soft_limit=50, hard_limit=60, concurrency=8),
    ),
    # one queue for each priority, with an SLA to match
    "priority": (
        QueueSpec(name="critical", priority=10, sla_seconds=2, soft_limit=280, hard_limit=300),
        QueueSpec(name="high_priority", priority=8, sla_seconds=3, soft_limit=280, hard_limit=300),
        QueueSpec(name="email", priority=7, sla_seconds=5, soft_limit=100, hard_limit=120),
        QueueSpec(name="reports", priority=6, sla_seconds=60, soft_limit=1680, hard_limit=1800),
        QueueSpec(name="external_api", priority=5, sla_seconds=10, soft_limit=540, hard_limit=600),
        QueueSpec(name="maintenance", priority=3, sla_seconds=300, soft_limit=3480, hard_limit=3600),
    ),
}
"""Sets of queues to start from: ``Settings(queue_preset="priority")``; or copy them into ``queues`` and add others."""


def all_queues(given: tuple[QueueSpec, ...], preset: str | None, recovery: str) -> tuple[QueueSpec, ...]:
    """Combine the queues of the preset, the given ones, and recovery's own; a given queue replaces the preset's.

    Raises
    ------
    ValueError
        A name occurs twice.
    """
    names = [queue.name for queue in given]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"queue names {repeated} are defined twice; keep one QueueSpec for each")
    queues = (*(queue for queue in QUEUE_PRESETS.get(preset or "", ()) if queue.name not in names), *given)
    if recovery in names:
        return queues
    return (*queues, QueueSpec(name=recovery, priority=10, soft_limit=240, hard_limit=300, concurrency=1))
