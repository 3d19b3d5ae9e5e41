"""A page of memory with the pauses that a worker's main process has read, for its children.

::

    0         8        16
    | version | length | JSON ... |

The main process marks the page as unfinished while it writes. A child that reads an unfinished page keeps the pauses
that it read before.
"""

from __future__ import annotations

import mmap
import struct
from typing import Final

from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.pauses import Pauses

log = get_logger("jobclaim.heartbeat")

SIZE: Final = 262_144
"""Space for `jobclaim.fleet.pauses.MOST` pauses with the longest names and reasons."""
_HEAD: Final = struct.Struct("=qq")
UNFINISHED: Final = -1


class PausePage:
    """The memory with the pauses; the main process writes it, and all read it without a lock."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)
        self._seen = 0
        self._known = Pauses()

    def write(self, known: Pauses) -> None:
        """Share the pauses, if they have changed; at most `SIZE` bytes."""
        text = known.encode().encode()
        if self._head() == (known.version, len(text)):
            return
        _HEAD.pack_into(self._memory, 0, UNFINISHED, 0)
        self._memory[_HEAD.size : _HEAD.size + len(text)] = text
        _HEAD.pack_into(self._memory, 0, known.version, len(text))

    def read(self) -> Pauses:
        """Return the pauses, decoded once for each change."""
        version, length = self._head()
        if version not in (self._seen, UNFINISHED):
            text = self._memory[_HEAD.size : _HEAD.size + length]
            if self._head() == (version, length):
                self._seen, self._known = version, Pauses.decode(text.decode(), version)
        return self._known

    def _head(self) -> tuple[int, int]:
        version, length = _HEAD.unpack_from(self._memory, 0)
        return version, length
