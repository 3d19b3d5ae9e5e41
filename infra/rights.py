"""What each actor may do: the managed policies, and the statements of a worker's own role."""

from __future__ import annotations

from jobclaim.infra.fragment import fill
from jobclaim.infra.references import arns, dead_letter_arns, logical_id
from jobclaim.jobs.encoding import schema
from jobclaim.settings import Settings


def policies(settings: Settings) -> str:
    """Return the managed policies of workers, submitters, recovery and operators."""
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
            "queue_arns": arns(names),
            "dead_letter_arns": dead_letter_arns(names),
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


def worker_rights(settings: Settings, queues: tuple[str, ...]) -> str:
    """Return the statements of a worker that runs these queues' jobs."""
    return fill(
        "worker_rights",
        {
            "own_queue_arns": arns(queues),
            "own_dead_letter_arns": dead_letter_arns(queues),
            "queue_arns": arns(settings.queue_names),
            "large_payloads": _large_payloads(settings, "s3:GetObject", "s3:PutObject"),
            "trail": fill("trail", {}),
            "pauses": fill("pauses", {}),
        },
    )


def _large_payloads(settings: Settings, *actions: str) -> str:
    if not settings.bucket:
        return ""
    values = {"actions": f"[{', '.join(actions)}]", "bucket": settings.bucket, "prefix": settings.bucket_prefix}
    return fill("payloads", values)
