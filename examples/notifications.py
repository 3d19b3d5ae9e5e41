"""Notifications: append to an outbox file, as a mail gateway would queue a message."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from celery import shared_task

from jobclaim.workers import JobTask


def append_notification(outbox: Path, recipient: str, message: str) -> dict[str, Any]:
    """Append one JSON line to the outbox in a single write, so that lines of several processes never interleave.

    Raises
    ------
    ValueError
        The recipient is empty.
    """
    if not recipient.strip():
        raise ValueError(f"recipient={recipient!r} is empty; name who is to be notified")
    line = json.dumps({"to": recipient, "message": message}, ensure_ascii=False) + "\n"
    handle = os.open(outbox, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)
    return {"outbox": str(outbox), "to": recipient}


# It is unknown whether a killed attempt had already sent the message, so an orphan stays FAILED until a person decides.
@shared_task(base=JobTask, bind=True, name="examples.send_notification", on_orphan="fail")
def send_notification(self: JobTask, recipient: str, message: str, outbox: str = "outbox.jsonl") -> dict[str, Any]:
    """Queue ``message`` for ``recipient`` in the outbox file."""
    return append_notification(Path(outbox), recipient, message)
