"""The default actor of a command: the user of this machine."""

from __future__ import annotations


def whoami() -> str:
    """Return the name of this machine's user, for the audit trail."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
