"""Signals to the pool's children: hold one still, let it go on, end it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Any

from billiard.pool import RUN


class Children:
    """The processes of a prefork pool. A pool of threads has none: then nothing can be stopped from outside.

    Parameters
    ----------
    pool : celery.concurrency.base.BasePool
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def freeze(self, pid: int | None) -> bool:
        """Stop a child where it is, so that what is written about its job stays true; ``False`` where there is none."""
        return self._is_child(pid) and self._signal(pid, signal.SIGSTOP)

    def thaw(self, pid: int | None) -> None:
        """Let a child go on."""
        if self._is_child(pid):
            self._signal(pid, signal.SIGCONT)

    def ask_to_end(self, pid: int | None) -> None:
        """End a child by SIGTERM: its ``finally`` blocks run."""
        self._end(pid, signal.SIGTERM)
        self.thaw(pid)

    def kill(self, pid: int | None) -> None:
        """End a child at once."""
        self._end(pid, signal.SIGKILL)

    def left(self) -> list[int]:
        """Return the children of a pool that is closing, or none while it works: each was told to end after its job."""
        inner = getattr(self._pool, "_pool", None)
        if not hasattr(self._pool, "terminate_job") or inner is None or inner._state == RUN:
            return []
        return [child.pid for child in list(inner._pool) if child.pid is not None and not _has_ended(child.pid)]

    def end_now(self, pids: Iterable[int], *, gently: bool) -> None:
        """End children of a pool that is closing: by SIGTERM, or at once. The pool expects them to end."""
        for pid in pids:
            self._signal(pid, signal.SIGTERM if gently else signal.SIGKILL)

    def _end(self, pid: int | None, number: signal.Signals) -> None:
        if self._is_child(pid):
            self._pool.terminate_job(pid, number)  # tells the pool too that this end was meant

    def _is_child(self, pid: int | None) -> bool:
        return pid is not None and pid != os.getpid() and hasattr(self._pool, "terminate_job")

    def have_ended(self, pids: Iterable[int | None]) -> bool:
        """Return whether one of some children has ended and waits for the pool to notice."""
        return any(_has_ended(pid) for pid in pids if pid is not None and self._is_child(pid))

    @staticmethod
    def _signal(pid: int | None, number: signal.Signals) -> bool:
        assert pid is not None
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None  # the pool reaps it
    except ChildProcessError:
        return False
