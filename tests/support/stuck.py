"""Children that do not end when they are told to: imported by a worker, this makes each wait long after its last job.

billiard's own wait, until the main process has read what the child said, takes 30 s; a stop is over long before.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from billiard.pool import Worker

DEAF = "TESTS_CHILDREN_ARE_DEAF"


def _never_consumed(self: Any, completed: int) -> bool:
    """Wait as if the main process read nothing any more."""
    if os.environ.get(DEAF):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        time.sleep(0.1)
    return False


Worker._ensure_messages_consumed = _never_consumed
