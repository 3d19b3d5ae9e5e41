"""The values of Celery's configuration that jobclaim requires or prefers, with reasons; `config` merges them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.settings import Settings


@dataclass(frozen=True, slots=True)
class Required:
    """A value that the claim rule needs, and why."""

    value: Any
    why: str


class QueueUrls(Mapping[str, dict[str, str]]):
    """kombu's ``predefined_queues``, looked up on first use: importing an app must not call AWS."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, dict[str, str]] = {}

    def _urls(self) -> dict[str, dict[str, str]]:
        if not self._known:
            from jobclaim.infra import resolve_queue_urls
            from jobclaim.workers.transport.client import sqs_client

            urls = resolve_queue_urls(self._settings, sqs_client(self._settings))
            self._known = {name: {"url": url} for name, url in urls.items()}
        return self._known

    def __getitem__(self, name: str) -> dict[str, str]:
        return self._urls()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._urls())

    def __len__(self) -> int:
        return len(self._settings.queues)

    def __eq__(self, other: object) -> bool:
        return self is other  # reading its contents would call AWS

    __hash__ = object.__hash__


def required(settings: Settings) -> dict[str, Required]:
    """Return the values without which claims do not hold."""
    no_fanout = "SQS has no broadcast; use `jobclaim workers` and `jobclaim cancel`"
    memory = "a worker fetches only as many messages as it has free processes"
    no_priority = "SQS has no priorities within a queue; give the work a queue of its own, with a higher priority"
    claim = "the claim, not the message, is the authority: the message is deleted when the task starts"
    return {
        "broker_url": Required("sqs://", "the jobs' messages travel on SQS"),
        "broker_read_url": Required(None, "the jobs' messages travel on SQS"),
        "broker_write_url": Required(None, "the jobs' messages travel on SQS"),
        "broker_transport": Required("jobclaim.workers.transport:Transport", "it continues after errors of SQS"),
        "task_acks_late": Required(False, claim),
        "task_reject_on_worker_lost": Required(False, claim),
        "task_acks_on_failure_or_timeout": Required(True, claim),
        "task_acks_on_failure": Required(True, claim),
        "task_acks_on_timeout": Required(True, claim),
        "task_retry_on_worker_lost": Required(False, "recovery finds a lost worker's jobs, and on_orphan decides"),
        "worker_prefetch_multiplier": Required(settings.prefetch_multiplier, memory),
        "worker_consumer": Required(
            "jobclaim.workers.process.consumer:JobConsumer", "it moves poison messages to the dead-letter queue"
        ),
        "worker_soft_shutdown_timeout": Required(0.0, "jobclaim drains within stop_timeout_seconds"),
        "worker_enable_soft_shutdown_on_idle": Required(False, "jobclaim drains within its own limit"),
        "worker_disable_rate_limits": Required(True, "a JobTask's rate_limit holds for the whole fleet"),
        "worker_enable_remote_control": Required(False, no_fanout),
        "worker_send_task_events": Required(False, no_fanout),
        "task_default_priority": Required(None, no_priority),
        "task_queue_max_priority": Required(None, no_priority),
        # else kombu creates a missing queue, with its own visibility timeout
        "task_create_missing_queues": Required(False, "`jobclaim up` creates queues, with derived timeouts"),
    }


def preferred(settings: Settings) -> dict[str, Any]:
    """Return the values that apply unless the host sets its own."""
    default = settings.limits("", settings.default_queue)
    return {
        "broker_connection_retry_on_startup": True,
        "task_time_limit": default.hard,
        "task_soft_time_limit": default.soft,
        "task_default_queue": settings.default_queue,
        "worker_max_tasks_per_child": settings.max_tasks_per_child,
        "beat_scheduler": "jobclaim.workers.schedule.beat:JobScheduler",
    }


TRANSPORT_OPTIONS: Final = {
    "visibility_timeout": "it is derived from the queue's time limits; set hard_limit of the queue",
    "predefined_queues": "queues and their URLs come from jobclaim's settings (queues, queue_prefix, queue_urls)",
    "queue_name_prefix": "set queue_prefix in jobclaim's settings",
    "region": "set region in jobclaim's settings",
    "polling_interval": "set polling_interval_seconds in jobclaim's settings",
    "wait_time_seconds": "set wait_time_seconds in jobclaim's settings",
}
"""Transport options that are derived from jobclaim's settings, each with what to set instead."""
