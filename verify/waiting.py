"""Waiting for an event with a bound: the only way a test waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.05


def wait_until(
    predicate: Callable[[], T],
    timeout: float,
    describe: str | Callable[[], str],
    *,
    poll: float = POLL_SECONDS,
) -> T:
    """Call `predicate` until it answers something true, and return that.

    Parameters
    ----------
    predicate : callable
        Asked again every `poll` seconds; its first true answer ends the wait.
    timeout : float
        Seconds. The predicate is asked once more after the last pause, so a slow machine gets its full time.
    describe : str or callable
        What was waited for, as in "the job is COMPLETED". A callable is asked at the end, for the last state.

    Raises
    ------
    TimeoutError
        Nothing true within `timeout`.
    """
    deadline = time.monotonic() + timeout
    while True:
        last_try = time.monotonic() >= deadline
        answer = predicate()
        if answer:
            return answer
        if last_try:
            what = describe() if callable(describe) else describe
            raise TimeoutError(f"waited {timeout:g} s in vain: {what}")
        time.sleep(poll)
