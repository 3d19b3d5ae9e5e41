"""Shared reads: pages that refresh every two seconds query DynamoDB once, however many viewers there are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from jobclaim.dashboard.meter import current
from jobclaim.jobs.clock import Clock, system_clock

T = TypeVar("T")

FRESH_MS: Final = 1_000
MOST: Final = 256
"""Most reads that are kept."""


@dataclass(slots=True)
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    read_at: int = 0
    fresh_ms: int = 0
    value: Any = None


class Shared:
    """Data that was read within the last second, by key; thread-safe.

    Two viewers that request the same data at the same time make one read: the second waits for the first. Errors are
    not kept. Values are shared without a copy: readers must not change them.
    """

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._slots: dict[Hashable, _Slot] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], T], *, fresh_ms: int = FRESH_MS) -> T:
        """Return the data if it was read at most ``fresh_ms`` milliseconds ago; else read it now.

        One page view reads it only once, however long the view takes: its parts agree, and its budget holds.
        """
        meter = current()
        if meter is not None and key in meter.remembered:
            return cast("T", meter.remembered[key])
        value = self._get(key, read, fresh_ms)
        if meter is not None:
            meter.remembered[key] = value
        return value

    def _get(self, key: Hashable, read: Callable[[], T], fresh_ms: int) -> T:
        slot = self._slot(key)
        with slot.lock:
            now = self._clock()
            if slot.read_at and 0 <= now - slot.read_at < fresh_ms:
                if fresh_ms == FRESH_MS and (meter := current()) is not None:  # longer kept data is shown with its age
                    meter.shared_ms = max(meter.shared_ms or 0, now - slot.read_at)
                return cast("T", slot.value)
            slot.value = read()
            slot.read_at, slot.fresh_ms = now, fresh_ms
            return cast("T", slot.value)

    def forget(self) -> None:
        """Forget all data, so that a user sees a change that was just made."""
        with self._lock:
            self._slots.clear()
        if (meter := current()) is not None:
            meter.remembered.clear()

    def _slot(self, key: Hashable) -> _Slot:
        with self._lock:
            slot = self._slots.pop(key, None) or _Slot()
            self._drop_old()
            self._slots[key] = slot  # re-inserted at the end: the least recently used is dropped first
            while len(self._slots) > MOST:
                self._slots.pop(next(iter(self._slots)))
            return slot

    def _drop_old(self) -> None:
        """Drop data that is too old to be used: a list of large jobs takes megabytes."""
        now = self._clock()
        for key, slot in list(self._slots.items()):
            if slot.read_at and now - slot.read_at >= slot.fresh_ms and not slot.lock.locked():
                del self._slots[key]
