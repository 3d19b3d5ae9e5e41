"""Checks across several settings; each error names the values and what to change."""

from __future__ import annotations

import re

from jobclaim.specs.configuration import Configuration
from jobclaim.specs.queues import FIFO_SUFFIX, NO_FIFO
from jobclaim.specs.quotas import ITEM_BUDGET, SQS_MAX_NAME, SQS_MAX_VISIBILITY
from jobclaim.specs.refusals import check_limits, not_among
from jobclaim.specs.timings import longest_hard_limit, visibility_timeout


def check(settings: Configuration) -> None:
    """Refuse settings that contradict each other.

    Raises
    ------
    ValueError
        The first contradiction found.
    """
    _check_default_queue(settings)
    _check_tasks(settings)
    _check_schedules(settings)
    _check_queues(settings)
    _check_groups(settings)
    _check_store(settings)
    _check_heartbeat(settings)


def _check_default_queue(settings: Configuration) -> None:
    name = settings.default_queue
    if name not in settings.queue_names:
        raise ValueError(f"default_queue={name!r} {not_among(name, settings.queue_names)}")
    if name == settings.recovery_queue:
        raise ValueError(
            f"default_queue={name!r} is also recovery_queue, so recovery would wait behind the backlog that it must "
            "repair; give recovery a queue of its own"
        )


def _check_tasks(settings: Configuration) -> None:
    for name, task in settings.tasks.items():
        if task.queue is not None and task.queue not in settings.queue_names:
            raise ValueError(f"tasks[{name!r}].queue={task.queue!r} {not_among(task.queue, settings.queue_names)}")
        limits = settings.limits(name)
        check_limits(f"task {name!r}", limits.soft, limits.hard)


def _check_schedules(settings: Configuration) -> None:
    for name, schedule in settings.schedules.items():
        if schedule.queue is not None and schedule.queue not in settings.queue_names:
            problem = not_among(schedule.queue, settings.queue_names)
            raise ValueError(f"schedules[{name!r}].queue={schedule.queue!r} {problem}")
        if not name.strip() or len(name) > 200 or not name.isprintable():
            raise ValueError(
                f"schedule name {name!r} must have 1 to 200 printable characters, because the ids of its jobs begin "
                "with it; rename it"
            )


def _check_queues(settings: Configuration) -> None:
    for queue in settings.queues:
        _check_queue_name(settings, queue.name)
        needed, hard = visibility_timeout(settings, queue.name), longest_hard_limit(settings, queue.name)
        if needed > SQS_MAX_VISIBILITY:
            raise ValueError(
                f"queue {queue.name!r} needs a visibility timeout of {needed} s for a longest hard limit of "
                f"{hard} s; SQS allows {SQS_MAX_VISIBILITY}. Lower hard_limit or visibility_factor, or split the task "
                "into shorter ones"
            )
        if queue.lease_seconds is not None and queue.lease_seconds <= hard:
            raise ValueError(
                f"queue {queue.name!r}: lease_seconds={queue.lease_seconds} must be above the longest hard limit "
                f"routed to it, {hard}; raise lease_seconds or leave it out"
            )
    for name, url in settings.queue_urls.items():
        if name not in settings.queue_names:
            raise ValueError(f"queue_urls[{name!r}] {not_among(name, settings.queue_names)}")
        if url.endswith(FIFO_SUFFIX):
            raise ValueError(f"queue_urls[{name!r}]={url!r}: {NO_FIFO}")


def _check_queue_name(settings: Configuration, queue: str) -> None:
    physical = settings.dead_letter_name(queue)
    if len(physical) > SQS_MAX_NAME and queue not in settings.queue_urls:
        raise ValueError(
            f"queue {physical!r} has {len(physical)} characters, and SQS takes at most {SQS_MAX_NAME}; shorten it"
        )


def _check_groups(settings: Configuration) -> None:
    homes: dict[str, str] = {}
    for name, group in settings.worker_groups.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
            raise ValueError(f"worker group name {name!r} is not allowed; use lower-case letters, digits and '-' only")
        for queue in group.queues:
            _check_group_queue(settings, name, queue)
            if queue in homes:
                raise ValueError(
                    f"queue {queue!r} is in the worker groups {homes[queue]!r} and {name!r}; remove it from one of them"
                )
            homes[queue] = name
    unserved = [name for name in settings.queue_names if name not in homes and name != settings.recovery_queue]
    if settings.worker_groups and unserved:
        raise ValueError(f"no worker group listens to the queues {unserved}; add them to one of worker_groups")


def _check_group_queue(settings: Configuration, group: str, queue: str) -> None:
    if queue not in settings.queue_names:
        raise ValueError(f"worker_groups[{group!r}].queues: {queue!r} {not_among(queue, settings.queue_names)}")
    if queue == settings.recovery_queue:
        raise ValueError(
            f"worker_groups[{group!r}] listens to recovery_queue={queue!r}, where recovery would wait behind long "
            "jobs; remove it, because recovery gets a worker of its own"
        )


def _check_store(settings: Configuration) -> None:
    if settings.job_table == settings.fleet_table:
        raise ValueError(f"job_table and fleet_table are both {settings.job_table!r}; give each a name of its own")
    if settings.max_payload_bytes + settings.max_result_bytes > ITEM_BUDGET:
        raise ValueError(
            f"max_payload_bytes={settings.max_payload_bytes} + max_result_bytes={settings.max_result_bytes} exceed "
            f"the {ITEM_BUDGET} bytes that a DynamoDB item has left for them; lower one of them"
        )


def _check_heartbeat(settings: Configuration) -> None:
    if settings.worker_dead_after_seconds < 4 * settings.heartbeat_seconds:
        raise ValueError(
            f"worker_dead_after_seconds={settings.worker_dead_after_seconds} is less than four heartbeats of "
            f"{settings.heartbeat_seconds} s, so one lost heartbeat stops a healthy worker; raise it, or lower "
            "heartbeat_seconds"
        )
