"""A page of memory that a worker's main process shares with its children, to notify them without a message.

::

    0        8       16                    32                                    4096
    | open   | takes  | token of a cancelled | token ... |                           |
    | until  | until  | attempt, 16 bytes    |           |                           |

It is created before the pool forks, so every child has it, later replacements too. Where children are not forked, or
outside of a worker, there is no board: then nothing is cancelled and the gate is open.
"""

from __future__ import annotations

import mmap
import struct
import threading
from typing import Final

SIZE: Final = 32_768
"""Space for 2,046 attempts that are cancelled at once: a worker of threads may run hundreds."""
HEAD: Final = 16
SLOT: Final = 16
"""Bytes of a claim token."""
EMPTY: Final = b"\0" * SLOT

_TIME: Final = struct.Struct("=d")


class Board:
    """The memory that a worker's processes share; the main process writes it, and all read it without a lock."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)
        self._lock = threading.Lock()

    @property
    def open_until(self) -> float:
        """Until when claims may be made, in seconds of `jobclaim.workers.state.worker.now`."""
        return float(_TIME.unpack_from(self._memory, 0)[0])

    @open_until.setter
    def open_until(self, at: float) -> None:
        _TIME.pack_into(self._memory, 0, at)

    @property
    def takes_until(self) -> float:
        """Until when the main process takes outcomes over, in the same seconds."""
        return float(_TIME.unpack_from(self._memory, _TIME.size)[0])

    @takes_until.setter
    def takes_until(self, at: float) -> None:
        _TIME.pack_into(self._memory, _TIME.size, at)

    def mark(self, token: str) -> bool:
        """Mark an attempt as to be cancelled; ``False`` if the token is invalid or there is no space."""
        with self._lock:
            if self.is_marked(token):
                return True
            free = self._find(EMPTY)
            if free < 0 or len(token.encode()) != SLOT:
                return False
            self._memory[free : free + SLOT] = token.encode()
            return True

    def unmark(self, token: str) -> None:
        """Remove the mark of an attempt that has ended."""
        with self._lock:
            at = self._find(token.encode())
            if at >= 0:
                self._memory[at : at + SLOT] = EMPTY

    def is_marked(self, token: str) -> bool:
        """Return whether an attempt is to be cancelled."""
        return self._find(token.encode()) >= 0

    def _find(self, slot: bytes) -> int:
        if len(slot) != SLOT:
            return -1
        at = self._memory.find(slot, HEAD)
        while at >= 0 and at % SLOT:  # a match across two adjacent tokens is not a token
            at = self._memory.find(slot, at + 1)
        return at
