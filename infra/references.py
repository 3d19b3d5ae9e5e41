"""How the template names queues and groups, and refers to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jobclaim.settings import Settings


def logical_id(name: str) -> str:
    """Return CloudFormation's name of a queue or group: ``high_priority`` becomes ``HighPriority``."""
    return "".join(part[:1].upper() + part[1:] for part in name.replace("_", "-").split("-"))


def arns(queues: Iterable[str]) -> str:
    """Return the queues' ARNs, a line of a YAML list for each."""
    return "\n".join(f"- !GetAtt {logical_id(name)}Queue.Arn" for name in queues)


def dead_letter_arns(queues: Iterable[str]) -> str:
    """Return the ARNs of the queues' dead-letter queues, a line of a YAML list for each."""
    return "\n".join(f"- !GetAtt {logical_id(name)}DeadLetterQueue.Arn" for name in queues)


def urls(settings: Settings) -> Mapping[str, str]:
    """Return each queue's URL as a CloudFormation expression."""
    return {name: f"${{{logical_id(name)}Queue}}" for name in settings.queue_names}
