"""A short hash of the settings that all processes of a fleet must share.

It leaves out what may differ between two healthy processes: how a machine reaches AWS, its own files and logs, who
signs in to the dashboard, and how the stack is divided into services. Values equal to their default are left out too,
so that a release that adds a setting does not change the digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

DIGITS: Final = 12
OWN: Final = frozenset(
    {
        # how this machine reaches AWS: whoever reads a worker's record is in its region and account anyway
        "region",
        "endpoint_url",
        "dynamodb_endpoint_url",
        "sqs_endpoint_url",
        "s3_endpoint_url",
        "connect_timeout_seconds",
        "read_timeout_seconds",
        # this machine's files, logs and metrics
        "worker_name",
        "run_dir",
        "log_level",
        "log_format",
        "telemetry",
        "telemetry_endpoint",
        "metrics_port",
        # set by the template for some processes only
        "worker_groups",
        "recovery_by_beat",
        # hashed already, as parts of `queues` and of the names in SQS
        "queue_preset",
        "queue_prefix",
        "queue_urls",
    }
)
"""Fields that are not part of the digest."""
DASHBOARD: Final = "dashboard_"
"""Prefix of the dashboard's fields: only its process reads them, and its users' hashes must not leave it."""


def shared(values: Mapping[str, Any], queue_names: Mapping[str, str]) -> dict[str, Any]:
    """Select from all settings those that a fleet must share; ``queue_names`` are SQS's names by logical name."""
    kept = {name: value for name, value in values.items() if name not in OWN and not name.startswith(DASHBOARD)}
    return kept | {"tasks": _ordered(kept.get("tasks", {})), "queue_names": dict(queue_names)}


def digest_of(values: Mapping[str, Any]) -> str:
    """Hash the shared settings: twelve hexadecimal digits, the same on every machine."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _ordered(tasks: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Keep the order of patterns, of which the first match applies; sort plain names, whose order means nothing."""
    patterns = [(name, spec) for name, spec in tasks.items() if _is_pattern(name)]
    return sorted((name, spec) for name, spec in tasks.items() if not _is_pattern(name)) + patterns


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?[")
