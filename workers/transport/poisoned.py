"""Messages that no worker can run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobclaim.jobs.log import get_logger

log = get_logger("jobclaim.transport")


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A message that no worker can run.

    Attributes
    ----------
    queue : str
        Logical name of its queue.
    body : str
        The body as received, not decoded.
    headers : dict
        Celery's headers; empty if they could not be read.
    unregistered : bool
        Whether only its task is unknown to this worker.
    """

    queue: str
    queue_url: str
    receipt: str
    body: str
    reason: str
    headers: dict[str, Any]
    unregistered: bool = False


def leave(poisoned: Poisoned) -> None:
    """Leave a message to the queue's redrive policy, where nothing else takes care of it."""
    log.error("poison.left_to_redrive", queue=poisoned.queue, reason=poisoned.reason)
