"""The settings as a container's environment, as they were when the template was rendered.

A container needs nothing else, neither a ``pyproject.toml`` nor a ``.env``: from these variables alone come settings of
the same `Settings.digest`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from jobclaim.settings import Settings

OWN_TO_A_MACHINE: Final = frozenset(
    {
        "region",
        "endpoint_url",
        "dynamodb_endpoint_url",
        "sqs_endpoint_url",
        "s3_endpoint_url",
        "job_table",
        "fleet_table",
        "queue_prefix",
        "queue_urls",
        "run_dir",
        "worker_name",
        "worker_groups",
        "log_format",
    }
)
"""Fields that the template sets itself, or that have no meaning in a container."""
DASHBOARD: Final = "dashboard_"
"""Prefix of the dashboard's fields. The template runs no dashboard, and its password hashes must stay out."""


def as_list(settings: Settings, urls: Mapping[str, str], *, without: Collection[str] = ()) -> str:
    """Return lines of YAML, an ECS container's ``Environment``."""
    return "\n".join(f"- {{ Name: {name}, Value: {value} }}" for name, value in _variables(settings, urls, without))


def as_mapping(settings: Settings, urls: Mapping[str, str]) -> str:
    """Return lines of YAML, a Lambda function's ``Variables``."""
    return "\n".join(f"{name}: {value}" for name, value in _variables(settings, urls, ()))


def _variables(settings: Settings, urls: Mapping[str, str], without: Collection[str]) -> Iterator[tuple[str, str]]:
    yield "JOBCLAIM_REGION", "!Ref AWS::Region"
    yield "JOBCLAIM_JOB_TABLE", "!Ref JobTable"
    yield "JOBCLAIM_FLEET_TABLE", "!Ref FleetTable"
    yield "JOBCLAIM_QUEUE_PREFIX", "!Ref QueuePrefix"
    yield "JOBCLAIM_QUEUE_URLS", f"!Sub {_quoted(_compact(urls))}"
    yield "JOBCLAIM_RUN_DIR", "/tmp/jobclaim"  # noqa: S108 - the container's own volume
    left_out = OWN_TO_A_MACHINE.union(without)
    for name, value in sorted(settings.model_dump(mode="json", exclude_unset=True).items()):
        if name not in left_out and not name.startswith(DASHBOARD) and (value is not None or _by_default(name)):
            yield f"JOBCLAIM_{name.upper()}", _quoted(value if isinstance(value, str) else _compact(value))


def _by_default(name: str) -> bool:
    """Return whether a field has a value unless it is set to ``null``."""
    return Settings.model_fields[name].default is not None


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
