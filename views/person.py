"""Who acts, where nobody has said it."""

from __future__ import annotations


def whoami() -> str:
    """Name the user of this machine, for the audit trail."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
