"""The monitoring in `template.yaml`: metrics from log lines, alarms on them, and a CloudWatch dashboard."""

from __future__ import annotations

from collections.abc import Iterable

from jobclaim.infra.fragment import fill
from jobclaim.infra.references import logical_id
from jobclaim.infra.signals import SIGNALS
from jobclaim.settings import Settings


def monitoring(settings: Settings) -> str:
    """Return metric filters, alarms and the dashboard."""
    queues = [f"${{{logical_id(name)}Queue.QueueName}}" for name in settings.queue_names]
    dead = [f"${{{logical_id(name)}DeadLetterQueue.QueueName}}" for name in settings.queue_names]
    services = [f"${{{logical_id(name)}Service.Name}}" for name in settings.groups]
    groups = [f"${{{logical_id(name)}Instances}}" for name in settings.groups]
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
            "instance_rows": _rows("AWS/AutoScaling", "GroupInServiceInstances", "AutoScalingGroupName", groups),
            "outcome_rows": _own("Claims", "RefusedClaims", "Completed", "Failed"),
            "recovery_rows": _own("RecoveryPasses", "Orphans", "Redispatched", "DeadWorkers"),
        },
    )


def _rows(namespace: str, metric: str, dimension: str, values: Iterable[str]) -> str:
    return ", ".join(f'["{namespace}", "{metric}", "{dimension}", "{value}"]' for value in values)


def _own(*metrics: str) -> str:
    return ", ".join(f'["Jobclaim/${{AWS::StackName}}", "{metric}"]' for metric in metrics)
