"""Whether this process runs on greenlets: only Python's own sockets then let other greenlets run while they wait."""

from __future__ import annotations

import sys
from typing import Final

PATCHERS: Final = {"gevent.monkey": "is_module_patched", "eventlet.patcher": "is_monkey_patched"}
"""Modules that replace Python's sockets, and their functions that report whether they did."""


def sockets_are_patched() -> bool:
    """Check whether gevent or eventlet has replaced Python's sockets: then libcurl, whose own sockets would block every
    greenlet, is not used.
    """
    return any(
        getattr(sys.modules[module], tells)("socket") for module, tells in PATCHERS.items() if module in sys.modules
    )
