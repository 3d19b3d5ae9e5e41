"""Connections inherited by a forked child, which must neither use nor close them, because the parent still uses them.

They would be closed implicitly: when the last reference to a connection is dropped, at the latest when the child's
interpreter ends, libcurl sends the end of TLS over the shared socket, and the parent's next request fails. So a child
adds one reference to each inherited connection that is never released.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any, Final
from weakref import WeakSet

_open: Final[WeakSet[Any]] = WeakSet()


def leave_to_parent(connection: Any) -> Any:
    """Make every child forked from now on leave a connection of this process open; return the connection."""
    _watch_forks()
    _open.add(connection)
    return connection


@cache
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_keep)


def _keep() -> None:
    for connection in list(_open):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    _open.clear()
