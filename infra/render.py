"""Render `template.yaml` from the fragments and the settings; a pure function of both.

CloudFormation cannot add two numbers, so every sum is made here, shown in a comment, and reviewed with the rest.
"""

from __future__ import annotations

from typing import Final

from jobclaim.infra.attributes import TLS_ONLY
from jobclaim.infra.environment import as_list, as_mapping
from jobclaim.infra.errors import TemplateError
from jobclaim.infra.fragment import fill
from jobclaim.infra.instances import container_instances
from jobclaim.infra.monitoring import monitoring
from jobclaim.infra.queues import DEAD_LETTER_RETENTION
from jobclaim.infra.references import logical_id, urls
from jobclaim.infra.rights import policies
from jobclaim.infra.services import instance_groups, services
from jobclaim.infra.sums import age_alarm, visibility_timeout
from jobclaim.jobs.encoding import schema
from jobclaim.settings import DEAD_LETTER_SUFFIX, QueueSpec, Settings

BANNER: Final = (
    "# Rendered by `jobclaim template` from the settings and infra/fragments/; change those, not this file.\n# "
    "`jobclaim template --check` tells whether it is current.\n"
)
FARGATE_MAX_STOP: Final = 120
"""Seconds; the longest that Fargate waits between SIGTERM and SIGKILL."""


def render(settings: Settings) -> str:
    """Return the whole template.

    Raises
    ------
    TemplateError
        Two names map to the same logical id, or stopping the workers takes longer than Fargate waits.
    """
    _check(settings)
    return BANNER + fill(
        "base",
        {
            "job_table": settings.job_table,
            "fleet_table": settings.fleet_table,
            "queue_prefix": settings.queue_prefix,
            "beat_submits": "true" if settings.schedules else "false",
            "recovery_interval": settings.recovery_interval_seconds,
            "tables": fill("tables", _schema()),
            "queues": "".join(_queue(settings, queue) for queue in settings.queues),
            "cluster": fill("cluster", {"ecs_trust": fill("trust", {})}),
            "policies": policies(settings),
            "services": "".join(services(settings)),
            "instances": "".join(instance_groups(settings)),
            "container_instances": container_instances(settings),
            "beat": _beat(settings),
            "function": fill("function", {"variables": as_mapping(settings, urls(settings))}),
            "signals": monitoring(settings),
            "queue_outputs": _queue_outputs(settings),
        },
    )


def _check(settings: Settings) -> None:
    seen: dict[str, str] = {}
    for name in [*settings.queue_names, *settings.groups]:
        kind = "group" if name in settings.groups and name not in settings.queue_names else "queue"
        key = f"{kind} {logical_id(name)}"
        if key in seen:
            raise TemplateError(
                f"{kind}s {seen[key]!r} and {name!r} would both be called {logical_id(name)!r} in the template; "
                "rename one of them"
            )
        seen[key] = name
    for name in settings.groups:
        if logical_id(name) in ("Beat", "Recovery", "Execution", "Control", "Container"):
            raise TemplateError(f"worker group {name!r} has a name that the template uses itself; rename it")
    if settings.stop_timeout_seconds > FARGATE_MAX_STOP:
        raise TemplateError(
            f"stop_timeout_seconds={settings.stop_timeout_seconds}, but Fargate kills a container {FARGATE_MAX_STOP} "
            f"s after SIGTERM; lower it to {FARGATE_MAX_STOP}"
        )


def _schema() -> dict[str, str]:
    return {
        "key": schema.KEY,
        "index": schema.INDEX,
        "index_hash": schema.INDEX_HASH,
        "index_range": schema.INDEX_RANGE,
        "ttl": schema.TTL,
        "fleet_key": schema.FLEET_KEY,
        "fleet_ttl": schema.FLEET_TTL,
    }


def _queue(settings: Settings, queue: QueueSpec) -> str:
    visibility, age = visibility_timeout(settings, queue.name), age_alarm(settings, queue.name)
    return fill(
        "queue",
        {
            "Queue": logical_id(queue.name),
            "name": queue.name,
            "visibility_timeout": visibility.value,
            "visibility_sum": visibility.why,
            "age_alarm": age.value,
            "age_sum": age.why,
            "wait_time": settings.wait_time_seconds,
            "max_receive_count": queue.max_receive_count,
            "dead_letter_suffix": DEAD_LETTER_SUFFIX,
            "dead_letter_retention": DEAD_LETTER_RETENTION,
            "tls_only": TLS_ONLY,
        },
    )


def _queue_outputs(settings: Settings) -> str:
    return "\n".join(
        f"{logical_id(name)}QueueUrl: {{ Value: !Ref {logical_id(name)}Queue }}" for name in settings.queue_names
    )


def _beat(settings: Settings) -> str:
    return fill(
        "beat",
        {
            "ecs_trust": fill("trust", {}),
            "Recovery": logical_id(settings.recovery_queue),
            "environment": as_list(settings, urls(settings), without=("recovery_by_beat",)),
        },
    )
