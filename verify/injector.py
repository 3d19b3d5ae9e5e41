"""Decide which fault to inject into a request: set by the fault scheduler, and called by a proxy for each request."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Final

from jobclaim.verify.faults import (
    BLACK_HOLE,
    MESSAGE_COPIED,
    MESSAGE_EARLY,
    MESSAGE_LOST,
    MESSAGE_MISADDRESSED,
    MESSAGE_REPLAYED,
    RESET,
    RESPONSE_LOST,
    SENDS,
    TABLE_THROTTLE,
    THROTTLE,
    Fault,
    error,
)
from jobclaim.verify.plan import FaultKind

TABLE: Final[Mapping[FaultKind, Fault]] = {
    FaultKind.TABLE_ERRORS: error(500),
    FaultKind.TABLE_UNAVAILABLE: error(503),
    FaultKind.TABLE_THROTTLED: TABLE_THROTTLE,
    FaultKind.TABLE_RESETS: RESET,
    FaultKind.TABLE_RESPONSES_LOST: RESPONSE_LOST,
    FaultKind.TABLE_SILENT: BLACK_HOLE,
}
QUEUE: Final[Mapping[FaultKind, Fault]] = {
    FaultKind.QUEUE_ERRORS: error(500),
    FaultKind.QUEUE_UNAVAILABLE: error(503),
    FaultKind.QUEUE_THROTTLED: THROTTLE,
    FaultKind.QUEUE_RESETS: RESET,
    FaultKind.QUEUE_RESPONSES_LOST: RESPONSE_LOST,
    FaultKind.QUEUE_SILENT: BLACK_HOLE,
    FaultKind.LOSE_MESSAGES: MESSAGE_LOST,
    FaultKind.COPY_MESSAGES: MESSAGE_COPIED,
    FaultKind.OLD_MESSAGES: MESSAGE_REPLAYED,
    FaultKind.FORGE_MESSAGES: MESSAGE_MISADDRESSED,
    FaultKind.EARLY_MESSAGES: MESSAGE_EARLY,
}
BACKGROUND_SHARES: Final[Mapping[Fault, float]] = {
    MESSAGE_COPIED: 0.02,
    MESSAGE_LOST: 0.01,
    RESPONSE_LOST: 0.002,
    MESSAGE_REPLAYED: 0.02,
    MESSAGE_MISADDRESSED: 0.04,
    MESSAGE_EARLY: 0.3,
}
"""Shares of requests that fail between the scheduled faults, too."""


class FaultInjector:
    """The faults of one service.

    Parameters
    ----------
    background : mapping
        Shares of faults that also occur between the scheduled ones.
    """

    def __init__(self, seed: int, background: Mapping[Fault, float]) -> None:
        self._random = random.Random(seed)
        self._background = dict(background)
        self._active: dict[int, tuple[Fault, float]] = {}

    def __call__(self, operation: str) -> Fault | None:
        """Return the fault to inject into a request, if any."""
        for fault, share in (*list(self._active.values()), *list(self._background.items())):
            if _applies(fault, operation) and self._random.random() < share:
                return fault
        return None

    def begin(self, number: int, fault: Fault, share: float) -> None:
        """Begin a fault, identified by a number."""
        self._active[number] = (fault, share)

    def end(self, number: int) -> None:
        """End a fault."""
        self._active.pop(number, None)

    def clear(self) -> None:
        """End all faults."""
        self._active.clear()
        self._background.clear()


def background_shares(faults: Iterable[Fault]) -> dict[Fault, float]:
    """Return the shares of the faults of a service that occur between the scheduled ones."""
    known = set(faults)
    return {fault: share for fault, share in BACKGROUND_SHARES.items() if fault in known}


def _applies(fault: Fault, operation: str) -> bool:
    return operation in SENDS or not fault.is_of_messages
