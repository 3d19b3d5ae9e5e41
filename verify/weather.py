"""Decides which fault hits a request now: set by the monkey, and called by a proxy for each request."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Final

from jobclaim.verify.faults import (
    ANSWER_LOST,
    ASTRAY,
    BLACK_HOLE,
    COPIED,
    EARLY,
    MISADDRESSED,
    OLD,
    RESET,
    SENDS,
    TABLE_THROTTLE,
    THROTTLE,
    Fault,
    error,
)
from jobclaim.verify.plan import Kind

TABLE: Final[Mapping[Kind, Fault]] = {
    Kind.TABLE_ERRORS: error(500),
    Kind.TABLE_UNAVAILABLE: error(503),
    Kind.TABLE_THROTTLED: TABLE_THROTTLE,
    Kind.TABLE_RESETS: RESET,
    Kind.TABLE_ANSWERS_LOST: ANSWER_LOST,
    Kind.TABLE_SILENT: BLACK_HOLE,
}
QUEUE: Final[Mapping[Kind, Fault]] = {
    Kind.QUEUE_ERRORS: error(500),
    Kind.QUEUE_UNAVAILABLE: error(503),
    Kind.QUEUE_THROTTLED: THROTTLE,
    Kind.QUEUE_RESETS: RESET,
    Kind.QUEUE_ANSWERS_LOST: ANSWER_LOST,
    Kind.QUEUE_SILENT: BLACK_HOLE,
    Kind.LOSE_MESSAGES: ASTRAY,
    Kind.COPY_MESSAGES: COPIED,
    Kind.OLD_MESSAGES: OLD,
    Kind.FORGE_MESSAGES: MISADDRESSED,
    Kind.EARLY_MESSAGES: EARLY,
}
ALWAYS: Final[Mapping[Fault, float]] = {
    COPIED: 0.02,
    ASTRAY: 0.01,
    ANSWER_LOST: 0.002,
    OLD: 0.02,
    MISADDRESSED: 0.04,
    EARLY: 0.3,
}
"""Shares between the strikes, in fair weather."""


class Weather:
    """The faults over one service.

    Parameters
    ----------
    always : mapping
        Shares of faults that also occur between strikes.
    """

    def __init__(self, seed: int, always: Mapping[Fault, float]) -> None:
        self._dice = random.Random(seed)
        self._always = dict(always)
        self._storms: dict[int, tuple[Fault, float]] = {}

    def __call__(self, operation: str) -> Fault | None:
        """Give the fault that a request meets, if any."""
        for fault, share in (*list(self._storms.values()), *list(self._always.items())):
            if _hits(fault, operation) and self._dice.random() < share:
                return fault
        return None

    def begin(self, number: int, fault: Fault, share: float) -> None:
        """Begin a storm, identified by a number."""
        self._storms[number] = (fault, share)

    def end(self, number: int) -> None:
        """End a storm."""
        self._storms.pop(number, None)

    def clear(self) -> None:
        """End all faults."""
        self._storms.clear()
        self._always.clear()


def of(faults: Iterable[Fault]) -> dict[Fault, float]:
    """Return the shares of the faults of a service that occur between strikes."""
    known = set(faults)
    return {fault: share for fault, share in ALWAYS.items() if fault in known}


def _hits(fault: Fault, operation: str) -> bool:
    return operation in SENDS or not fault.is_of_messages
