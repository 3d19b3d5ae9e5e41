"""Tables and queues of an embedded AWS in this process, lent to one test after another: to make them takes longer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.backends import get_backend

from jobclaim.infra import LocalAws, provision
from jobclaim.settings import Settings
from tests.support.endpoints import unique_name

_free: defaultdict[str, list[Settings]] = defaultdict(list)
"""By endpoint and fields."""


@contextmanager
def lender(aws: LocalAws, prefix: str) -> Iterator[Callable[..., Settings]]:
    """Give a function that lends provisioned settings with given fields, empty, until the block ends."""
    lent: list[tuple[str, Settings, int]] = []

    def lend(**fields: Any) -> Settings:
        key = f"{aws.endpoint_url} {prefix} {sorted(fields.items())}"
        settings = _free[key].pop() if _free[key] else _provisioned(aws, prefix, fields)
        lent.append((key, settings, len(_found(settings))))
        return settings

    yield lend
    for key, settings, count in lent:
        found = _found(settings)
        for each in found:
            _empty(each)
        if len(found) == count:  # a test may have deleted one
            _free[key].append(settings)


def _provisioned(aws: LocalAws, prefix: str, fields: dict[str, Any]) -> Settings:
    name = unique_name(prefix)
    names = {"job_table": name, "fleet_table": f"{name}-fleet", "queue_prefix": f"{name}-"}
    settings = Settings(**{"endpoint_url": aws.endpoint_url, **names, **fields})
    provision(settings)
    return settings


def _found(settings: Settings) -> list[Any]:
    """Find moto's own objects for the tables and queues."""
    backends: Any = get_backend
    found: list[Any] = []
    for service, kept in (("dynamodb", "tables"), ("sqs", "queues")):
        for region in backends(service).values():
            things = getattr(region[settings.region], kept)
            found += [thing for name, thing in things.items() if name.startswith(settings.job_table)]
    return found


def _empty(found: Any) -> None:
    if hasattr(found, "items"):
        found.items.clear()
    else:
        found._messages, found._pending_messages = [], set()
