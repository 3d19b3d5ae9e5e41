"""The EC2 kinds of compute in `template.yaml`: an Auto Scaling group per worker group, and EC2 capacity for ECS."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from jobclaim.infra.environment import as_file, own_to_stack
from jobclaim.infra.fragment import fill
from jobclaim.infra.sums import Sum, instance_drain, instance_size
from jobclaim.settings import Settings, WorkerGroup

USER_DATA_BYTES: Final = 15_000
"""EC2's limit is 16,384 bytes before base64; the rest is for names that CloudFormation puts in."""
RELEASED_SETTINGS: Final = "/opt/jobclaim/release/pyproject.toml"
"""Where an instance reads settings that do not fit into its user data; without this file a worker does not start."""
STOP_SLACK: Final = 10
"""Seconds after the worker's own deadline until systemd kills it."""
HOOK_SLACK: Final = 40
"""Seconds after the worker's own deadline until its group no longer waits: notice, systemd, the request to go on."""


@dataclass(frozen=True, slots=True)
class Instances:
    """What one group of instances runs.

    Attributes
    ----------
    name, logical : str
        Name of the group, and the beginning of its logical ids.
    queues : tuple of str
        Queues of its worker; empty for recovery and beat, which run beside each other as units of their own.
    units : str
        Units to start.
    rights : str
        IAM statements of its worker.
    managed_policies : str
        Line with the managed policies of the actors that it runs.
    command : str
        Command line of the worker in the virtual environment.
    """

    name: str
    logical: str
    group: WorkerGroup
    queues: tuple[str, ...]
    units: str
    rights: str = ""
    managed_policies: str = ""
    command: str = ""


def instances(settings: Settings, urls: Mapping[str, str], these: Instances, *, without: Collection[str] = ()) -> str:
    """Return the resources of one group of instances."""
    group, size = these.group, instance_size([these.group])
    drain = instance_drain(settings, these.queues) if these.queues else None
    values: dict[str, object] = {
        "group": these.name,
        "Group": these.logical,
        "instance_trust": fill("instance_trust", {}),
        "managed_policies": these.managed_policies,
        "rights": these.rights,
        "min_tasks": group.min_tasks,
        "max_tasks": group.max_tasks,
        # less than MaxSize, or CloudFormation could not take out an instance to replace it; recovery's is replaced in
        # place
        "min_in_service": min(group.min_tasks, group.max_tasks - 1),
        "on_demand": "!Ref OnDemandPercent" if group.spot else 100,
        "requirements": fill("requirements", size.values),
        "size_sum": size.why,
        "user_data": _user_data(urls, these, as_file(settings, urls, without=without), drain),
        "heartbeat": "",
        "heartbeat_sum": "",
    }
    if drain is not None:
        values["heartbeat"] = drain.value + HOOK_SLACK
        values["heartbeat_sum"] = f"{drain.value} for the worker ({drain.why}) + {HOOK_SLACK} for the rest"
    return fill("instances", values)


def _user_data(urls: Mapping[str, str], these: Instances, environment: str, drain: Sum | None) -> str:
    values: dict[str, object] = {
        "group": these.name,
        "Group": these.logical,
        "environment": environment,
        "command": these.command,
        "units": these.units,
        "within": "",
        "stop": "",
        "stop_sum": "",
    }
    if drain is not None:
        values["within"], values["stop"] = drain.value, drain.value + STOP_SLACK
        values["stop_sum"] = f"{drain.value} for the worker ({drain.why}) + {STOP_SLACK}"
    text = fill("user_data", values)
    if len(text.encode()) <= USER_DATA_BYTES:
        return text
    return fill("user_data", {**values, "environment": f"{own_to_stack(urls)}\nJOBCLAIM_CONFIG={RELEASED_SETTINGS}"})


def container_instances(settings: Settings) -> str:
    """Return the EC2 capacity of the ECS cluster: instances that are large enough for a task of any group."""
    groups = list(settings.groups.values())
    size = instance_size(groups)
    return fill(
        "container_instances",
        {
            "instance_trust": fill("instance_trust", {}),
            "stop_timeout": settings.stop_timeout_seconds or 2,
            "most": sum(group.max_tasks for group in groups),
            "most_sum": "one instance per task of all groups, at worst",
            "base": sum(group.min_tasks for group in groups),
            "on_demand": "!Ref OnDemandPercent" if all(group.spot for group in groups) else 100,
            "requirements": fill("requirements", size.values),
            "size_sum": size.why,
        },
    )
