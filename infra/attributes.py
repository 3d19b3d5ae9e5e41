"""Queue attributes as values: their JSON forms, and how an existing queue differs from the wanted one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

TLS_ONLY: Final = "JobclaimTlsOnly"
"""Sid of our statement in a queue's policy; all other statements belong to the queue's owner and stay."""


@dataclass(frozen=True, slots=True)
class Change:
    """An attribute whose value differs from the wanted one.

    Attributes
    ----------
    name : str
    old : str, optional
        ``None`` if the queue has no value.
    new : str
    """

    name: str
    old: str | None
    new: str

    def __str__(self) -> str:
        return f"{self.name} {self.old if self.old else 'none'} -> {self.new}"


def differences(current: Mapping[str, str], desired: Mapping[str, str]) -> list[Change]:
    """Return the attributes of a queue that differ, in the order of `desired`."""
    return [Change(name, current.get(name), new) for name, new in desired.items() if not _same(current.get(name), new)]


def redrive_policy(dead_letter_arn: str, max_receive_count: int) -> str:
    """Return where a message goes after `max_receive_count` deliveries."""
    return compact({"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": max_receive_count})


def tls_only_policy(queue_arn: str, existing: str | None = None) -> str:
    """Return the queue's policy with a statement that denies every request over plain HTTP.

    Parameters
    ----------
    queue_arn : str
    existing : str, optional
        The queue's policy so far, JSON; its other statements are kept.
    """
    statement = {
        "Sid": TLS_ONLY,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": queue_arn,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy: dict[str, Any] = json.loads(existing) if existing else {"Version": "2012-10-17", "Statement": []}
    statements: list[Any] = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    others = [each for each in statements if each.get("Sid") != TLS_ONLY]
    return compact({**policy, "Statement": [*others, statement]})


def _same(current: str | None, desired: str) -> bool:
    if current is None:
        return False
    if desired.startswith("{"):
        return bool(_plain(current) == _plain(desired))
    return current.lower() == desired.lower()


def _plain(text: str) -> Any:
    """Parse a policy so that 5 and "5", and any order of keys, are the same; SQS returns the text as it was set."""
    try:
        policy = json.loads(text)
    except ValueError:
        return text
    if isinstance(policy, dict) and "maxReceiveCount" in policy:
        policy["maxReceiveCount"] = int(policy["maxReceiveCount"])
    return policy


def compact(value: Any) -> str:
    """Write JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))
