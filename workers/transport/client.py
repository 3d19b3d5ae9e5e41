"""The SQS client of a process."""

from __future__ import annotations

from typing import Any, Final

from jobclaim.jobs.storage.connect import PerProcess
from jobclaim.jobs.storage.lean import client_of
from jobclaim.settings import Settings

_clients: Final[dict[tuple[str | None, str], PerProcess]] = {}


def sqs_client(settings: Settings) -> Any:
    """Return this process's one SQS client for these settings; kombu would make one per queue and connection."""
    key = (settings.endpoint("sqs"), settings.region)
    return _clients.setdefault(key, PerProcess(lambda: client_of(settings, "sqs"))).get()
