"""The settings as a container's environment, as they were when the template was rendered.

A container needs nothing else, neither a ``pyproject.toml`` nor a ``.env``: these variables alone produce settings with
the same `Settings.digest`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from jobclaim.infra.attributes import compact
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


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a variable; ``substituted`` if CloudFormation fills in ``${...}``."""

    text: str
    substituted: bool = False

    @property
    def yaml(self) -> str:
        """Return it as an expression of the template."""
        if not self.substituted:
            return _quoted(self.text)
        name = re.fullmatch(r"\$\{([\w:]+)\}", self.text)
        return f"!Ref {name[1]}" if name else f"!Sub {_quoted(self.text)}"

    @property
    def within_sub(self) -> str:
        """Return it as part of a text to which CloudFormation applies ``Fn::Sub``."""
        return self.text if self.substituted else self.text.replace("${", "${!")


def as_list(settings: Settings, urls: Mapping[str, str], *, without: Collection[str] = ()) -> str:
    """Return the YAML lines of an ECS container's ``Environment``."""
    return "\n".join(
        f"- {{ Name: {name}, Value: {value.yaml} }}" for name, value in _in_container(settings, urls, without)
    )


def as_mapping(settings: Settings, urls: Mapping[str, str]) -> str:
    """Return the YAML lines of a Lambda function's ``Variables``."""
    return "\n".join(f"{name}: {value.yaml}" for name, value in _in_container(settings, urls, ()))


def as_file(settings: Settings, urls: Mapping[str, str], *, without: Collection[str] = ()) -> str:
    """Return lines of an ``EnvironmentFile`` of systemd, within a text to which ``Fn::Sub`` is applied."""
    return _file([*_of_stack(urls), *_of_settings(settings, without)])


def own_to_stack(urls: Mapping[str, str]) -> str:
    """Return the lines of an ``EnvironmentFile`` whose values only the stack knows; they are not settings."""
    return _file(_of_stack(urls))


def _file(variables: Iterable[tuple[str, Value]]) -> str:
    return "\n".join(f"{name}={_for_systemd(value.within_sub)}" for name, value in variables)


def _in_container(settings: Settings, urls: Mapping[str, str], without: Collection[str]) -> Iterator[tuple[str, Value]]:
    yield from _of_stack(urls)
    yield "JOBCLAIM_RUN_DIR", Value("/tmp/jobclaim")  # noqa: S108 - the container's own volume
    yield from _of_settings(settings, without)


def _of_stack(urls: Mapping[str, str]) -> Iterator[tuple[str, Value]]:
    yield "JOBCLAIM_REGION", Value("${AWS::Region}", True)
    yield "JOBCLAIM_JOB_TABLE", Value("${JobTable}", True)
    yield "JOBCLAIM_FLEET_TABLE", Value("${FleetTable}", True)
    yield "JOBCLAIM_QUEUE_PREFIX", Value("${QueuePrefix}", True)
    yield "JOBCLAIM_QUEUE_URLS", Value(compact(urls), True)


def _of_settings(settings: Settings, without: Collection[str]) -> Iterator[tuple[str, Value]]:
    left_out = OWN_TO_A_MACHINE.union(without)
    for name, value in sorted(settings.model_dump(mode="json", exclude_unset=True).items()):
        if name not in left_out and not name.startswith(DASHBOARD) and (value is not None or _by_default(name)):
            yield f"JOBCLAIM_{name.upper()}", Value(value if isinstance(value, str) else compact(value))


def _by_default(name: str) -> bool:
    """Return whether a field has a value by default, so that a ``null`` must be written out to unset it."""
    return Settings.model_fields[name].default is not None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _for_systemd(text: str) -> str:
    """Quote a value in single quotes, where nothing needs an escape; in double quotes if it contains a single one."""
    if "'" not in text:
        return f"'{text}'"
    return '"' + re.sub(r'([\\"$`])', r"\\\1", text) + '"'
