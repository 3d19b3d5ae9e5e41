"""Merge Celery's configuration: set what the claim rule needs, and keep the host's other values.

::

    REQUIRED    must be so for claims to hold; a host's other value is overridden, in one warning that names both
    PREFERRED   jobclaim's unless the host sets a value
    combined    queues, routes, modules, schedules, transport options: the host's and jobclaim's
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from celery.app import routes
from kombu import Queue
from kombu.utils.url import maybe_sanitize_url

from jobclaim.jobs import JobError
from jobclaim.settings import Settings
from jobclaim.workers.config_values import TRANSPORT_OPTIONS, QueueUrls, preferred, required
from jobclaim.workers.handle import Handle, log_follows
from jobclaim.workers.schedule.entries import beat_schedule, merge_schedules

UNSAFE_CONTENT: Final = frozenset({"pickle", "application/x-python-serialize"})
"""Content types whose decoding executes code from the message."""
CELERYS_QUEUE: Final = "celery"


class WrongConfiguration(JobError):
    """The host's Celery configuration contradicts the claim rule in a way that cannot be overridden."""


def merge(handle: Handle) -> None:
    """Merge jobclaim's values into the configuration of a handle's app; a second call changes nothing.

    Raises
    ------
    WrongConfiguration
        `celery --broker` or an environment variable of Celery's own names another broker.
    ValueError
        A schedule is defined twice.
    """
    conf, settings = handle.app.conf, handle.settings
    host = HostValues(conf, handle.merged)
    overridden = [
        *_require(host, settings),
        *_transport_options(host, settings),
        *_only_json(host),
        *_priorities_of_routes(host),
    ]
    for key, value in preferred(settings).items():
        if not host.is_set(key):
            host.set(key, value)
    _default_queue(host, settings, overridden)
    _combine(host, handle)
    _refuse_another_broker(conf)
    if not conf.result_backend and not host.is_set("result_expires"):
        # plain tasks' results are kept as long as jobs'
        host.set("result_expires", settings.completed_retention_days * 86_400)
    handle.refusal = None
    handle.overridden += overridden
    if not log_follows():
        handle.report_overridden()


def _refuse_another_broker(conf: Any) -> None:
    """Refuse a broker from the environment, which takes precedence over every configuration, if it is not plain SQS."""
    for key in ("broker_url", "broker_read_url", "broker_write_url"):
        if (url := getattr(conf, key)) != "sqs://":
            by_option = " (or `celery --broker`, which sets it)" if key == "broker_url" else ""
            raise WrongConfiguration(
                f"the environment variable CELERY_{key.upper()}{by_option} names the broker "
                f"{maybe_sanitize_url(url)!r}, which no configuration can override; unset it, because jobclaim sends "
                "its messages on SQS with the credentials that boto3 finds"
            )


class HostValues:
    """The host's configuration, distinguished from values that were merged before.

    Parameters
    ----------
    conf : celery.app.utils.Settings
    merged : dict
        Values set by earlier merges, by key; kept with the handle.
    """

    def __init__(self, conf: Any, merged: dict[str, Any]) -> None:
        self._conf = conf
        self._merged = merged

    def is_set(self, key: str) -> bool:
        """Return whether the host sets the key."""
        if not self._is_given(key):
            return False
        return key not in self._merged or self._conf[key] != self._merged[key]

    def __contains__(self, key: str) -> bool:
        """Return whether an earlier merge set it."""
        return key in self._merged

    def get(self, key: str) -> Any:
        """Return the host's value; ``None`` if there is none."""
        return self._conf[key] if self.is_set(key) else None

    def _is_given(self, key: str) -> bool:
        """Check whether the host sets a key. `value_set_for` of Celery 5.6 does not find it under the host's prefix,
        nor under its name of Celery 3.
        """
        conf = self._conf
        conf.finalize()
        names = {*conf._to_keys(key), *(convert(key) for convert in conf._keys or ())}
        return any(name in given for given in conf.maps[:-1] for name in names)

    def set(self, key: str, value: Any) -> None:
        """Set jobclaim's value."""
        self._conf[key] = self._merged[key] = value
        for name in self._conf._to_keys(key):
            self._conf.changes[name] = value  # in Celery 5.6 the host's prefixed name takes precedence over this one


def _require(host: HostValues, settings: Settings) -> Iterator[dict[str, str]]:
    for key, requirement in required(settings).items():
        if (
            host.is_set(key)
            and (configured := host.get(key)) != requirement.value
            and not _same_broker(key, configured)
        ):
            yield _overridden(key, configured, requirement.value, requirement.why)
        host.set(key, requirement.value)


def _same_broker(key: str, value: Any) -> bool:
    """Return whether a host's broker is SQS as well: credentials in its URL are not used, boto3 finds its own."""
    return key.startswith("broker_") and (not value or str(value).split(":")[0] in ("sqs", "SQS"))


def _transport_options(host: HostValues, settings: Settings) -> Iterator[dict[str, str]]:
    ours = {
        # without it kombu lists queues, and creates a missing one with a visibility timeout of its own
        "predefined_queues": QueueUrls(settings),
        "region": settings.region,
        "polling_interval": settings.polling_interval_seconds,  # kombu's default is one poll a second
        "wait_time_seconds": settings.wait_time_seconds,
        "jobclaim_settings": settings,
    }
    if not host.is_set("broker_transport_options") and "broker_transport_options" in host:
        return
    configured = dict(host.get("broker_transport_options") or {})
    for option, why in TRANSPORT_OPTIONS.items():
        if option in configured and (value := configured.pop(option)) != ours.get(option):
            yield _overridden(f"broker_transport_options[{option!r}]", value, ours.get(option, "derived"), why)
    host.set("broker_transport_options", configured | ours)


def _only_json(host: HostValues) -> Iterator[dict[str, str]]:
    """Keep the host's serializers, except those that execute code from messages; jobclaim's is JSON."""
    accepted = [str(name) for name in host.get("accept_content") or ["json"]]
    if unsafe := UNSAFE_CONTENT.intersection(accepted):
        safe = [name for name in accepted if name not in UNSAFE_CONTENT]
        yield _overridden(
            "accept_content", accepted, safe, f"decoding {'/'.join(sorted(unsafe))} runs code from the message"
        )
        accepted = safe
    host.set("accept_content", accepted if {"json", "application/json"} & set(accepted) else [*accepted, "json"])
    for key in ("task_serializer", "result_serializer"):
        if (configured := host.get(key)) in UNSAFE_CONTENT:
            yield _overridden(key, configured, "json", "decoding it runs code from the message")
            host.set(key, "json")


def _default_queue(host: HostValues, settings: Settings, overridden: list[dict[str, str]]) -> None:
    configured = host.get("task_default_queue")
    if configured is None or configured in settings.queue_names:
        return
    if configured != CELERYS_QUEUE:
        why = f"queue {configured!r} is not configured in jobclaim's settings; add it to queues to keep it"
        overridden.append(_overridden("task_default_queue", configured, settings.default_queue, why))
    host.set("task_default_queue", settings.default_queue)


def _combine(host: HostValues, handle: Handle) -> None:
    """Combine the host's queues, routes, modules and schedules with jobclaim's."""
    settings = handle.settings
    configured = {getattr(queue, "name", queue): queue for queue in host.get("task_queues") or ()}
    own = {queue.name: Queue(queue.name, routing_key=queue.name) for queue in settings.queues}
    if host.is_set("task_queues") or "task_queues" not in host:
        host.set("task_queues", list((configured | own).values()))
    _combine_routes(host, handle)
    if host.is_set("imports") or "imports" not in host:
        modules = [*(host.get("imports") or ()), *settings.task_modules]
        host.set("imports", list(dict.fromkeys(modules)))
    if host.is_set("beat_schedule") or "beat_schedule" not in host:
        host.set("beat_schedule", merge_schedules(beat_schedule(settings), host.get("beat_schedule")))


def _combine_routes(host: HostValues, handle: Handle) -> None:
    settings = handle.settings
    own = {name: {"queue": settings.queue_of(name)} for name in settings.tasks}
    configured = host.get("task_routes")
    if configured is None:
        if "task_routes" not in host:
            host.set("task_routes", own)
        return
    several = list(configured) if isinstance(configured, (list, tuple)) and not _is_pairs(configured) else [configured]
    handle.host_routes = routes.prepare(several)
    host.set("task_routes", [*several, own])


def _priorities_of_routes(host: HostValues) -> Iterator[dict[str, str]]:
    """Report the host's routes that set a priority, which has no effect; a route that is a function cannot be read."""
    configured = host.get("task_routes")
    for routes_ in configured if isinstance(configured, (list, tuple)) and not _is_pairs(configured) else [configured]:
        pairs = routes_.items() if isinstance(routes_, Mapping) else routes_ if _is_pairs(routes_) else ()
        for pattern, route in pairs:
            if isinstance(route, Mapping) and (priority := route.get("priority")) is not None:
                why = "SQS has no priorities within a queue; route to a queue with a higher priority"
                yield _overridden(f"task_routes[{str(pattern)!r}]['priority']", priority, None, why)


def _is_pairs(routes: Any) -> bool:
    """Return whether a list is one map of (pattern, route) pairs, as Celery allows."""
    if not routes or not isinstance(routes, (list, tuple)):
        return False
    return all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in routes)


def _overridden(key: str, yours: Any, ours: Any, why: str) -> dict[str, str]:
    shown = maybe_sanitize_url(yours) if isinstance(yours, str) else yours
    of_settings = isinstance(ours, QueueUrls)
    return {"key": key, "yours": str(shown), "ours": "of jobclaim's settings" if of_settings else str(ours), "why": why}
