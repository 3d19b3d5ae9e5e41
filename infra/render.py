"""Render `template.yaml` from the fragments and the settings; a pure function of both.

CloudFormation cannot add two numbers, so every sum is made here, shown in a comment, and reviewed with the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from jobclaim.infra.attributes import TLS_ONLY
from jobclaim.infra.environment import as_list, as_mapping
from jobclaim.infra.errors import InfraError
from jobclaim.infra.fragment import fill
from jobclaim.infra.queues import DEAD_LETTER_RETENTION
from jobclaim.infra.signals import SIGNALS
from jobclaim.infra.sums import age_alarm, backlog_target, visibility_timeout
from jobclaim.jobs.encoding import schema
from jobclaim.settings import DEAD_LETTER_SUFFIX, QueueSpec, Settings, WorkerGroup

BANNER: Final = (
    "# Rendered by `jobclaim template` from the settings and infra/fragments/; change those, not this file.\n# "
    "`jobclaim template --check` tells whether it is current.\n"
)
FARGATE_MAX_STOP: Final = 120
"""Seconds; the longest that Fargate waits between SIGTERM and SIGKILL."""
RECOVERY: Final = "recovery"
RECOVERY_GROUP: Final = WorkerGroup(
    queues=("recovery",), cpu=256, memory=512, concurrency=1, min_tasks=1, max_tasks=1, spot=False
)


class TemplateError(InfraError):
    """No template can be rendered from these settings."""


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
            "policies": _policies(settings),
            "services": "".join(_services(settings)),
            "beat": _beat(settings),
            "function": fill("function", {"variables": as_mapping(settings, _urls(settings))}),
            "signals": _signals(settings),
            "queue_outputs": _queue_outputs(settings),
        },
    )


def logical_id(name: str) -> str:
    """Return CloudFormation's name of a queue or group: ``high_priority`` becomes ``HighPriority``."""
    return "".join(part[:1].upper() + part[1:] for part in name.replace("_", "-").split("-"))


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
        if logical_id(name) in ("Beat", "Recovery", "Execution"):
            raise TemplateError(f"worker group {name!r} has a name that the template uses itself; rename it")
    if settings.stop_timeout_seconds > FARGATE_MAX_STOP:
        raise TemplateError(
            f"stop_timeout_seconds={settings.stop_timeout_seconds}, but Fargate kills a container {FARGATE_MAX_STOP} "
            f"s after SIGTERM; lower it to {FARGATE_MAX_STOP}"
        )


# --- tables and queues
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


def _arns(queues: Iterable[str]) -> str:
    return "\n".join(f"- !GetAtt {logical_id(name)}Queue.Arn" for name in queues)


def _dead_letter_arns(queues: Iterable[str]) -> str:
    return "\n".join(f"- !GetAtt {logical_id(name)}DeadLetterQueue.Arn" for name in queues)


def _urls(settings: Settings) -> Mapping[str, str]:
    """Return each queue's URL as a CloudFormation expression."""
    return {name: f"${{{logical_id(name)}Queue}}" for name in settings.queue_names}


def _queue_outputs(settings: Settings) -> str:
    return "\n".join(
        f"{logical_id(name)}QueueUrl: {{ Value: !Ref {logical_id(name)}Queue }}" for name in settings.queue_names
    )


# --- actors
def _policies(settings: Settings) -> str:
    names = settings.queue_names
    workers = [f"- !Ref {logical_id(name)}TaskRole" for name in settings.groups]
    roles = [*workers, "- !Ref BeatTaskRole", '- !If [RecoverByBeat, !Ref RecoveryTaskRole, !Ref "AWS::NoValue"]']
    return fill(
        "policies",
        {
            "queue_arns": _arns(names),
            "dead_letter_arns": _dead_letter_arns(names),
            "index": schema.INDEX,
            "exec_roles": "\n".join(roles),
            "worker_roles": "\n".join(workers),
            "large_payloads": _large_payloads(settings, "s3:GetObject", "s3:PutObject"),
            "alerts": fill("alerts", {"topic": settings.alert_topic_arn}) if settings.alert_topic_arn else "",
            "read_large_payloads": _large_payloads(settings, "s3:GetObject"),
        },
    )


def _large_payloads(settings: Settings, *actions: str) -> str:
    if not settings.bucket:
        return ""
    values = {"actions": f"[{', '.join(actions)}]", "bucket": settings.bucket, "prefix": settings.bucket_prefix}
    return fill("payloads", values)


def _services(settings: Settings) -> Iterable[str]:
    for name, group in settings.groups.items():
        yield _service(
            settings, name, group, group.queues, "", _capacity(group), "# no DesiredCount: autoscaling owns it"
        )
        yield fill("scaling", {"Group": logical_id(name), "min_tasks": group.min_tasks, "max_tasks": group.max_tasks})
        yield from (_backlog(settings, name, group, queue) for queue in group.queues)
    yield _service(
        settings,
        RECOVERY,
        RECOVERY_GROUP,
        (settings.recovery_queue,),
        "Condition: RecoverByBeat",
        _capacity(RECOVERY_GROUP),
        "DesiredCount: 1",
        managed_policies="ManagedPolicyArns: [!Ref RecoveryPolicy]",
    )


def _service(
    settings: Settings,
    name: str,
    group: WorkerGroup,
    queues: tuple[str, ...],
    condition: str,
    capacity: str,
    desired_count: str,
    *,
    managed_policies: str = "",
) -> str:
    command = ["jobclaim", "worker", "run", *(f"--queue={queue}" for queue in queues)]
    return fill(
        "service",
        {
            "Group": logical_id(name),
            "group": name,
            "condition": condition,
            "ecs_trust": fill("trust", {}),
            "managed_policies": managed_policies,
            "own_queue_arns": _arns(queues),
            "own_dead_letter_arns": _dead_letter_arns(queues),
            "queue_arns": _arns(settings.queue_names),
            "large_payloads": _large_payloads(settings, "s3:GetObject", "s3:PutObject"),
            "cpu": group.cpu,
            "memory": group.memory,
            "stop_timeout": settings.stop_timeout_seconds or 2,
            "command": f"[{', '.join([*command, f'--concurrency={_concurrency(settings, group, queues)}'])}]",
            "environment": as_list(settings, _urls(settings)),
            "capacity": capacity,
            "desired_count": desired_count,
        },
    )


def _concurrency(settings: Settings, group: WorkerGroup, queues: tuple[str, ...]) -> int:
    return group.concurrency or max(settings.queue(queue).concurrency for queue in queues)


def _capacity(group: WorkerGroup) -> str:
    on_demand = f"- {{ CapacityProvider: FARGATE, Base: {group.min_tasks}, Weight: 1 }}"
    return f"{on_demand}\n- {{ CapacityProvider: FARGATE_SPOT, Weight: !Ref SpotWeight }}" if group.spot else on_demand


def _backlog(settings: Settings, name: str, group: WorkerGroup, queue: str) -> str:
    target = backlog_target(settings, queue, _concurrency(settings, group, group.queues))
    return fill(
        "backlog",
        {
            "Queue": logical_id(queue),
            "name": queue,
            "Group": logical_id(name),
            "backlog_target": target.value,
            "backlog_sum": target.why,
        },
    )


def _beat(settings: Settings) -> str:
    return fill(
        "beat",
        {
            "ecs_trust": fill("trust", {}),
            "Recovery": logical_id(settings.recovery_queue),
            "environment": as_list(settings, _urls(settings), without=("recovery_by_beat",)),
        },
    )


# --- monitoring
def _signals(settings: Settings) -> str:
    queues = [f"${{{logical_id(name)}Queue.QueueName}}" for name in settings.queue_names]
    dead = [f"${{{logical_id(name)}DeadLetterQueue.QueueName}}" for name in settings.queue_names]
    services = [f"${{{logical_id(name)}Service.Name}}" for name in settings.groups]
    return fill(
        "signals",
        {
            "filters": "".join(
                fill("filter", {"Metric": each.metric, "pattern": each.pattern, "value": each.value})
                for each in SIGNALS
            ),
            "waiting_rows": _rows("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queues),
            "age_rows": _rows("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queues),
            "dead_letter_rows": _rows("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", dead),
            "service_rows": _rows(
                "ECS/ContainerInsights", 'RunningTaskCount", "ClusterName", "${Cluster}', "ServiceName", services
            ),
            "outcome_rows": _own("Claims", "RefusedClaims", "Completed", "Failed"),
            "recovery_rows": _own("RecoveryPasses", "Orphans", "Redispatched", "DeadWorkers"),
        },
    )


def _rows(namespace: str, metric: str, dimension: str, values: Iterable[str]) -> str:
    return ", ".join(f'["{namespace}", "{metric}", "{dimension}", "{value}"]' for value in values)


def _own(*metrics: str) -> str:
    return ", ".join(f'["Jobclaim/${{AWS::StackName}}", "{metric}"]' for metric in metrics)
