"""The outcomes that a worker's children have handed over: a page of memory with one place for each child.

A child that hands the outcome of an attempt over writes the claim's token here first. So the main process knows, before
it has read the child's answer, that this attempt has ended and is not to be released or cancelled. A child gets its
next job only when its answer was read, so its place is free then.
"""

from __future__ import annotations

import mmap
from typing import Final

from billiard import current_process

from jobclaim.workers.state.board import SLOT

CHILDREN: Final = 256
"""Children of a pool that can hand outcomes over; others record theirs themselves."""


class HandedOver:
    """The page; created before the pool forks."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, CHILDREN * SLOT)

    def put(self, token: str) -> bool:
        """Note the token of an outcome that this child hands over; ``False`` if there is no place for it."""
        place, content = getattr(current_process(), "index", CHILDREN), token.encode()
        if place >= CHILDREN or len(content) != SLOT:
            return False
        self._memory[place * SLOT : (place + 1) * SLOT] = content
        return True

    def has(self, token: str) -> bool:
        """Return whether a child has handed the outcome of this claim over, and nothing after it."""
        places = range(0, len(self._memory), SLOT)
        return token.encode() in {self._memory[place : place + SLOT] for place in places}
