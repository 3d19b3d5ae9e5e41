"""What a process reports to systemd: that it is ready, that it is alive, that it stops (the protocol of `sd_notify`).

A unit with ``WatchdogSec=`` is restarted when its process has not reported that it is alive for that long.
"""

from __future__ import annotations

import os
import socket
from typing import Final

READY: Final = "READY=1"
ALIVE: Final = "WATCHDOG=1"
STOPPING: Final = "STOPPING=1"
"""From here on the watchdog is off, and ``TimeoutStopSec=`` applies to the process even if it stops by itself."""


def notify(state: str) -> bool:
    """Send one state to the service manager; return whether one listens.

    Without ``NOTIFY_SOCKET``, that is outside a unit of ``Type=notify``, nothing is sent. A manager that cannot be
    reached raises no error: if it stays unreachable, the unit's watchdog restarts the process.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        try:
            connection.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError:
            return False
    return True
