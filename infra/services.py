"""Where workers and recovery run: ECS services, groups of EC2 instances, and what scales them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from jobclaim.infra.environment import as_list
from jobclaim.infra.fragment import fill
from jobclaim.infra.instances import Instances, instances
from jobclaim.infra.references import logical_id, urls
from jobclaim.infra.rights import worker_rights
from jobclaim.infra.sums import backlog_target
from jobclaim.settings import Settings, WorkerGroup

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


def services(settings: Settings) -> Iterable[str]:
    """Return the ECS services of the worker groups and of recovery, with their scaling."""
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


def instance_groups(settings: Settings) -> Iterable[str]:
    """Return the EC2 instances of the worker groups, with their scaling, and those of recovery and beat."""
    queue_urls = urls(settings)
    for name, group in settings.groups.items():
        these = Instances(
            name,
            logical_id(name),
            group,
            group.queues,
            f"jobclaim-worker@{name} jobclaim-interruption@{name}",
            rights=worker_rights(settings, group.queues),
            command=" ".join(_command(settings, group, group.queues)),
        )
        yield instances(settings, queue_urls, these)
        yield from (_backlog(settings, name, group, queue, "instance_backlog") for queue in group.queues)
    control = Instances("control", "Control", RECOVERY_GROUP, (), CONTROL_UNITS, managed_policies=CONTROL_POLICIES)
    yield instances(settings, queue_urls, control, without=("recovery_by_beat",))


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
            "rights": worker_rights(settings, queues),
            "cpu": group.cpu,
            "memory": group.memory,
            "stop_timeout": settings.stop_timeout_seconds or 2,
            "command": f"[{', '.join(_command(settings, group, queues))}]",
            "environment": as_list(settings, urls(settings)),
            "capacity": capacity,
            "platform": ONLY_ON_FARGATE if on_instances else "PlatformVersion: LATEST",
            "public_ip": NO_IP_ON_INSTANCES if on_instances else "!Ref AssignPublicIp",
            "associated": on_instances,
            "desired_count": desired_count,
        },
    )


def _command(settings: Settings, group: WorkerGroup, queues: tuple[str, ...]) -> list[str]:
    of_queues = [f"--queue={queue}" for queue in queues]
    return ["jobclaim", "worker", "run", *of_queues, f"--concurrency={_concurrency(settings, group, queues)}"]


def _concurrency(settings: Settings, group: WorkerGroup, queues: tuple[str, ...]) -> int:
    return group.concurrency or max(settings.queue(queue).concurrency for queue in queues)


def _capacity(group: WorkerGroup) -> str:
    """Return the capacity provider strategy as YAML in flow style: the cluster's own instances, or the
    group's Fargate.
    """
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
