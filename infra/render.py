"""Render `template.yaml` from the fragments and the settings; a pure function of both.

CloudFormation cannot add two numbers, so every sum is made here, shown in a comment, and reviewed with the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from jobclaim.infra.attributes import TLS_ONLY
from jobclaim.infra.environment import as_list, as_mapping
from jobclaim.infra.errors import TemplateError
from jobclaim.infra.fragment import fill
from jobclaim.infra.instances import Instances, container_instances, instances
from jobclaim.infra.monitoring import monitoring
from jobclaim.infra.queues import DEAD_LETTER_RETENTION
from jobclaim.infra.sums import age_alarm, backlog_target, visibility_timeout
from jobclaim.jobs.encoding import schema
from jobclaim.settings import DEAD_LETTER_SUFFIX, QueueSpec, Settings, WorkerGroup

__all__ = ["TemplateError", "logical_id", "render"]

BANNER: Final = (
    "# Rendered by `jobclaim template` from the settings and infra/fragments/; change those, not this file.\n# "
    "`jobclaim template --check` tells whether it is current.\n"
)
FARGATE_MAX_STOP: Final = 120
"""Seconds; the longest that Fargate waits between SIGTERM and SIGKILL."""
ONLY_ON_FARGATE: Final = 'PlatformVersion: !If [OnEcsInstances, !Ref "AWS::NoValue", LATEST]'
NO_IP_ON_INSTANCES: Final = "!If [OnEcsInstances, DISABLED, !Ref AssignPublicIp] # a task there cannot have one"
CONTROL_POLICIES: Final = """\
ManagedPolicyArns: !If
  - RecoverByBeat
  - !If [BeatSubmits, [!Ref RecoveryPolicy, !Ref SubmitterPolicy], [!Ref RecoveryPolicy]]
  - !If [BeatSubmits, [!Ref SubmitterPolicy], !Ref "AWS::NoValue"]"""
CONTROL_UNITS: Final = '$([ "${RecoveryBy}" = lambda ] || echo jobclaim-recovery) jobclaim-beat'
RECOVERY: Final = "recovery"
RECOVERY_GROUP: Final = WorkerGroup(
    queues=("recovery",), cpu=256, memory=512, concurrency=1, min_tasks=1, max_tasks=1, spot=False
)


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
            "instances": "".join(_instances(settings)),
            "container_instances": container_instances(settings),
            "beat": _beat(settings),
            "function": fill("function", {"variables": as_mapping(settings, _urls(settings))}),
            "signals": monitoring(settings, logical_id),
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
        if logical_id(name) in ("Beat", "Recovery", "Execution", "Control", "Container"):
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
    workers = [
        f"- !If [OnEc2, !Ref {logical_id(name)}InstanceRole, !Ref {logical_id(name)}TaskRole]"
        for name in settings.groups
    ]
    roles = [
        *workers,
        "- !If [OnEc2, !Ref ControlInstanceRole, !Ref BeatTaskRole]",
        '- !If [RecoverByBeatOnEcs, !Ref RecoveryTaskRole, !Ref "AWS::NoValue"]',
    ]
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
            "trail": fill("trail", {}),
            "pauses": fill("pauses", {}),
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
            settings, name, group, group.queues, "OnEcs", _capacity(group), "# no DesiredCount: autoscaling owns it"
        )
        yield fill("scaling", {"Group": logical_id(name), "min_tasks": group.min_tasks, "max_tasks": group.max_tasks})
        yield from (_backlog(settings, name, group, queue) for queue in group.queues)
    yield _service(
        settings,
        RECOVERY,
        RECOVERY_GROUP,
        (settings.recovery_queue,),
        "RecoverByBeatOnEcs",
        _on_fargate(RECOVERY_GROUP),
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
    on_instances = not managed_policies
    return fill(
        "service",
        {
            "Group": logical_id(name),
            "group": name,
            "condition": condition,
            "ecs_trust": fill("trust", {}),
            "managed_policies": managed_policies,
            "rights": _rights(settings, queues),
            "cpu": group.cpu,
            "memory": group.memory,
            "stop_timeout": settings.stop_timeout_seconds or 2,
            "command": f"[{', '.join(_command(settings, group, queues))}]",
            "environment": as_list(settings, _urls(settings)),
            "capacity": capacity,
            "platform": ONLY_ON_FARGATE if on_instances else "PlatformVersion: LATEST",
            "public_ip": NO_IP_ON_INSTANCES if on_instances else "!Ref AssignPublicIp",
            "associated": on_instances,
            "desired_count": desired_count,
        },
    )


def _rights(settings: Settings, queues: tuple[str, ...]) -> str:
    return fill(
        "worker_rights",
        {
            "own_queue_arns": _arns(queues),
            "own_dead_letter_arns": _dead_letter_arns(queues),
            "queue_arns": _arns(settings.queue_names),
            "large_payloads": _large_payloads(settings, "s3:GetObject", "s3:PutObject"),
            "trail": fill("trail", {}),
            "pauses": fill("pauses", {}),
        },
    )


def _command(settings: Settings, group: WorkerGroup, queues: tuple[str, ...]) -> list[str]:
    of_queues = [f"--queue={queue}" for queue in queues]
    return ["jobclaim", "worker", "run", *of_queues, f"--concurrency={_concurrency(settings, group, queues)}"]


def _instances(settings: Settings) -> Iterable[str]:
    urls = _urls(settings)
    for name, group in settings.groups.items():
        these = Instances(
            name,
            logical_id(name),
            group,
            group.queues,
            f"jobclaim-worker@{name} jobclaim-interruption@{name}",
            rights=_rights(settings, group.queues),
            command=" ".join(_command(settings, group, group.queues)),
        )
        yield instances(settings, urls, these)
        yield from (_backlog(settings, name, group, queue, "instance_backlog") for queue in group.queues)
    control = Instances("control", "Control", RECOVERY_GROUP, (), CONTROL_UNITS, managed_policies=CONTROL_POLICIES)
    yield instances(settings, urls, control, without=("recovery_by_beat",))


def _concurrency(settings: Settings, group: WorkerGroup, queues: tuple[str, ...]) -> int:
    return group.concurrency or max(settings.queue(queue).concurrency for queue in queues)


def _capacity(group: WorkerGroup) -> str:
    """Return the strategy in flow style, by kind: Fargate's of the group, or the cluster's own instances."""
    fargate = ", ".join(line.removeprefix("- ") for line in _on_fargate(group).splitlines())
    return f"!If [OnEcsInstances, [{{ CapacityProvider: !Ref ContainerCapacity, Weight: 1 }}], [{fargate}]]"


def _on_fargate(group: WorkerGroup) -> str:
    on_demand = f"- {{ CapacityProvider: FARGATE, Base: {group.min_tasks}, Weight: 1 }}"
    return f"{on_demand}\n- {{ CapacityProvider: FARGATE_SPOT, Weight: !Ref SpotWeight }}" if group.spot else on_demand


def _backlog(settings: Settings, name: str, group: WorkerGroup, queue: str, kind: str = "backlog") -> str:
    target = backlog_target(settings, queue, _concurrency(settings, group, group.queues))
    return fill(
        kind,
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
