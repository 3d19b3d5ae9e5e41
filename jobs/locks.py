"""Locks of one process: a fork must not inherit one that is held."""

from __future__ import annotations

import os
import threading


class ProcessLock:
    """A lock that every process has for itself.

    A plain lock that another thread holds at the moment of a fork stays locked in the child forever, because that
    thread does not exist there.
    """

    __slots__ = ("_held", "_locks")

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}
        self._held: threading.Lock

    def __enter__(self) -> None:
        lock = self._locks.get(os.getpid()) or self._own()
        lock.acquire()
        self._held = lock

    def __exit__(self, *_: object) -> None:
        self._held.release()

    def _own(self) -> threading.Lock:
        return self._locks.setdefault(os.getpid(), threading.Lock())
