"""Numbers of the template that are derived from the settings, each with its calculation in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jobclaim.settings import Settings


@dataclass(frozen=True, slots=True)
class Sum:
    """A number and how it was calculated."""

    value: int
    why: str


def visibility_timeout(settings: Settings, queue: str) -> Sum:
    """How long a message may stay with a worker, seconds; the number itself is `Settings.visibility_timeout`."""
    spec, hard = settings.queue(queue), settings.longest_hard_limit(queue)
    value = settings.visibility_timeout(queue)
    factor = f"{spec.visibility_factor:g} x {hard} longest hard limit"
    waits = (
        f"{settings.prefetch_multiplier} prefetched x {hard} longest hard limit + {settings.stop_timeout_seconds} stop "
        f"+ {settings.visibility_slack_seconds} slack"
    )
    by_factor = math.ceil(spec.visibility_factor * hard)
    used, other = (factor, waits) if value == by_factor else (waits, factor)
    return Sum(value, f"{value} = {used} (not less than {other})")


def age_alarm(settings: Settings, queue: str) -> Sum:
    """Return the age of a queue's oldest message at which its alarm fires, seconds."""
    sla, hard = math.ceil(settings.queue(queue).sla_seconds), settings.longest_hard_limit(queue)
    return Sum(settings.age_alarm_seconds(queue), f"{sla} SLA + {hard} longest hard limit")


def backlog_target(settings: Settings, queue: str, concurrency: int) -> Sum:
    """Messages that one ECS task may have waiting: what its processes start within the SLA.

    Every job is assumed to last its whole soft limit; if yours are much shorter, the services scale out earlier than
    necessary.
    """
    spec = settings.queue(queue)
    rounds = max(1, int(spec.sla_seconds // spec.soft_limit))
    why = f"{concurrency} processes x {rounds} ({spec.sla_seconds:g} SLA / {spec.soft_limit} soft limit, at least 1)"
    return Sum(concurrency * rounds, why)
