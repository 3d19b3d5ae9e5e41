"""Numbers of the template that are derived from the settings, each with its calculation in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from jobclaim.settings import Settings, WorkerGroup

LONGEST_HOOK: Final = 7200
"""Seconds that a lifecycle hook may wait for one heartbeat; AWS's limit."""
DRAIN_SLACK: Final = 30
"""Seconds after the longest hard limit in which a worker records the outcome of its last job and ends."""
SYSTEM_MIB: Final = 512
"""Memory of the operating system and its agents."""
HOOK_RESERVE: Final = 60
"""Seconds of the hook that are not the worker's: noticing, systemd, and the request to go on."""


@dataclass(frozen=True, slots=True)
class Sum:
    """A number and how it was calculated."""

    value: int
    why: str


def visibility_timeout(settings: Settings, queue: str) -> Sum:
    """Return how long a message may stay with a worker, seconds; the number itself is `Settings.visibility_timeout`."""
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
    """Return how many messages may wait per ECS task: as many as its processes can start within the SLA.

    Every job is assumed to last its whole soft limit; if yours are much shorter, the services scale out earlier than
    necessary.
    """
    spec = settings.queue(queue)
    rounds = max(1, int(spec.sla_seconds // spec.soft_limit))
    why = f"{concurrency} processes x {rounds} ({spec.sla_seconds:g} SLA / {spec.soft_limit} soft limit, at least 1)"
    return Sum(concurrency * rounds, why)


def instance_drain(settings: Settings, queues: Iterable[str]) -> Sum:
    """Return how long a worker on EC2 may take to finish its jobs when its group scales in or replaces it, seconds.

    Unlike a spot interruption, this has no deadline, so it is as long as the longest job, and no job is cut short.
    """
    hard = max(settings.longest_hard_limit(queue) for queue in queues)
    seconds = max(settings.stop_timeout_seconds, hard + DRAIN_SLACK)
    most = LONGEST_HOOK - HOOK_RESERVE
    if seconds > most:
        return Sum(most, f"a lifecycle hook waits {LONGEST_HOOK} at most: jobs of {hard} may be released")
    if seconds == settings.stop_timeout_seconds:
        return Sum(seconds, "stop_timeout_seconds")
    return Sum(seconds, f"{hard} longest hard limit + {DRAIN_SLACK}")


@dataclass(frozen=True, slots=True)
class Size:
    """The size that an instance must have: values for the fragment ``requirements``, and how they were calculated."""

    values: dict[str, object]
    why: str


def instance_size(groups: Sequence[WorkerGroup]) -> Size:
    """Return the smallest instance that has room for one task of the largest group."""
    cpu, memory = max(group.cpu for group in groups), max(group.memory for group in groups)
    vcpus = max(2, math.ceil(cpu / 1024))  # the smallest instances of current generations have two
    values: dict[str, object] = {"vcpus": vcpus, "most_vcpus": 2 * vcpus, "memory": memory + SYSTEM_MIB}
    return Size(values, f"cpu={cpu}, memory={memory} of the group + {SYSTEM_MIB} for the system")
