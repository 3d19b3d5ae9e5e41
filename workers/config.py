"""Celery's configuration, all of it from `Settings`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kombu import Queue

from jobclaim.settings import Settings
from jobclaim.workers.schedule.entries import entries

RECOVERY_TASK: Final = "jobclaim.recovery.sweep"


class QueueUrls(Mapping[str, dict[str, str]]):
    """kombu's ``predefined_queues``, looked up when it is first used: importing an app must not ask AWS anything."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, dict[str, str]] = {}

    def _urls(self) -> dict[str, dict[str, str]]:
        if not self._known:
            from jobclaim.infra import resolve_queue_urls

            self._known = {name: {"url": url} for name, url in resolve_queue_urls(self._settings).items()}
        return self._known

    def __getitem__(self, name: str) -> dict[str, str]:
        return self._urls()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._urls())

    def __len__(self) -> int:
        return len(self._settings.queues)


def celery_config(settings: Settings) -> dict[str, Any]:
    """Give the configuration of an app; each value that is not Celery's default says why."""
    default = settings.limits("", settings.default_queue)
    return {
        "broker_url": "sqs://",
        "broker_transport": "jobclaim.workers.transport:Transport",
        "broker_transport_options": {
            # without it kombu lists queues, and creates a missing one with a visibility timeout of its own
            "predefined_queues": QueueUrls(settings),
            "region": settings.region,
            "polling_interval": settings.polling_interval_seconds,  # kombu's 1 s would be the pace of the worker
            "wait_time_seconds": settings.wait_time_seconds,
            "jobclaim_settings": settings,
        },
        "broker_connection_retry_on_startup": True,
        "result_backend": "jobclaim.workers.results.backend:JobBackend",
        # the claim, not the message, is the authority: delete on consume
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": settings.prefetch_multiplier,
        "worker_consumer": "jobclaim.workers.process.consumer:JobConsumer",
        # JSON only: a message must not be able to run code
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_queues": [Queue(queue.name, routing_key=queue.name) for queue in settings.queues],
        "task_default_queue": settings.default_queue,
        "task_create_missing_queues": False,
        "task_routes": {name: {"queue": settings.queue_of(name)} for name in settings.tasks},
        "task_time_limit": default.hard,
        "task_soft_time_limit": default.soft,
        # a task's rate_limit is kept by the whole fleet (`workers.attempt.admission`), not by each worker for itself
        "worker_disable_rate_limits": True,
        "worker_max_tasks_per_child": settings.max_tasks_per_child,
        # SQS has no fanout: remote control, events and gossip have nothing to travel on
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "enable_utc": True,
        "timezone": "UTC",
        "imports": [*settings.task_modules, "jobclaim.recovery.tasks", "jobclaim.workers.results.chords"],
        # results of plain tasks are kept as long as those of jobs
        "result_expires": settings.completed_retention_days * 86_400,
        "beat_schedule": beat_schedule(settings),
        "beat_scheduler": "jobclaim.workers.schedule.beat:JobScheduler",
    }


def beat_schedule(settings: Settings) -> dict[str, Any]:
    """Schedules of settings, and recovery; a pass that waits longer than its interval leaves its work to the next."""
    own = entries(settings)
    if not settings.recovery_by_beat:
        return own
    return own | {
        "jobclaim-recovery": {
            "task": RECOVERY_TASK,
            "schedule": float(settings.recovery_interval_seconds),
            "options": {"queue": settings.recovery_queue, "expires": float(settings.recovery_interval_seconds)},
        }
    }
