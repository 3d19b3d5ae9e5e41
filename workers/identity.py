"""Who this worker is: one name per main process, inherited by its children."""

from __future__ import annotations

import os
import secrets
import socket

_worker_id = ""


def worker_id() -> str:
    """Name of this worker, or of this process where no worker was started: ``host:pid:random``."""
    return _worker_id or adopt()


def adopt() -> str:
    """Draw a new name for this process; called once when a worker's main process starts, before it forks."""
    global _worker_id  # noqa: PLW0603 - one process is one worker
    _worker_id = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    return _worker_id
