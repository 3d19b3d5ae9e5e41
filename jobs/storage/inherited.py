"""Connections that a forked child inherits: it must neither use nor close them, the parent goes on using them.

Closing is what happens by itself: when the last reference to a connection goes, at the latest when the child's
interpreter ends, libcurl tells the other side over the shared socket that TLS is over, and the parent's next request
fails. So a child gives each inherited connection one reference more, which nobody ever takes back.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final
from weakref import WeakSet

_open: Final[WeakSet[Any]] = WeakSet()
_watching: Final[list[bool]] = []


def leave_to_parent(connection: Any) -> Any:
    """Let every child that is forked from now on leave a connection of this process alone; give it back."""
    if not _watching:
        _watching.append(True)
        os.register_at_fork(after_in_child=_keep)
    _open.add(connection)
    return connection


def _keep() -> None:
    for connection in list(_open):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    _open.clear()
