"""Forge messages that a queue should never deliver: old ones, ones for another task, and ones long before their time.

A message of Celery on SQS is base64 of JSON with ``headers`` and ``body``. A message that cannot be read is not
changed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final, TypeAlias

Request = dict[str, Any]
"""A SendMessage request."""
Forge: TypeAlias = Callable[[Request, Request | None], Request | None]
"""Makes one more request of a request and of one whose message may have arrived; ``None`` if it cannot."""

TRAP: Final = "verify.trap"
"""A task that no call names: its body must never run."""
CLAIMED_BEFORE: Final = frozenset({"verify.quick", "verify.slow", "verify.fragile", "verify.flaky"})
"""Tasks whose messages get another task's name: of a plain message the task decides what it claims."""
WAITS: Final = CLAIMED_BEFORE | {"jobclaim.chord"}
"""Tasks whose messages come long before their time. A chord's own job starts early then, and must wait for its members:
it comes to them while they are written, run and counted."""
EARLY_SECONDS: Final = 180
"""Only messages that are kept back for longer are forged to come at once: clocks may differ by two minutes."""


def old(_request: Request, before: Request | None) -> Request | None:
    """Send a message that was delivered before once more."""
    return {**before, "DelaySeconds": 0} if before else None


def misaddressed(request: Request, _before: Request | None) -> Request | None:
    """Change the task that the message names, but not the job."""
    message = _read(request)
    if message is None or message["headers"].get("task") not in CLAIMED_BEFORE:
        return None
    message["headers"]["task"] = TRAP
    return {**request, "MessageBody": base64.b64encode(json.dumps(message).encode()).decode()}


def early(request: Request, _before: Request | None) -> Request | None:
    """Deliver a message at once that SQS should delay for minutes."""
    message = _read(request) if int(request.get("DelaySeconds") or 0) > EARLY_SECONDS else None
    is_ours = message is not None and message["headers"].get("task") in WAITS
    return {**request, "DelaySeconds": 0} if is_ours else None


def _read(request: Request) -> dict[str, Any] | None:
    try:
        message = json.loads(base64.b64decode(request["MessageBody"]))
    except ValueError:
        return None
    return message if isinstance(message, dict) and isinstance(message.get("headers"), dict) else None
