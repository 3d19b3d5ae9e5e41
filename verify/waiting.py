"""Wait for an event, for a bounded time: the only way in which tests wait."""

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
    """Call `predicate` until it returns a true value, and return that value.

    Parameters
    ----------
    predicate : callable
        Called every `poll` seconds; its first true value ends the wait.
    timeout : float
        Seconds. The predicate is called once more after the last pause, so a slow machine gets its full time.
    describe : str or callable
        What was waited for, as in "the job is COMPLETED". A callable is called at the end, to describe the
        last state.

    Raises
    ------
    TimeoutError
        The predicate returned no true value within `timeout`.
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
