"""One log line when SQS stops answering, one when it answers again, and the waits between the tries."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final

from jobclaim.jobs.log import get_logger

log = get_logger("jobclaim.transport")

FIRST_BACKOFF_SECONDS: Final = 0.2
LONGEST_BACKOFF_SECONDS: Final = 5.0


def backoff(failures: int, draw: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after consecutive failures: full jitter under a ceiling that doubles up to 5 s."""
    return draw() * min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 16), LONGEST_BACKOFF_SECONDS)


class Outage:
    """Consecutive failures of one kind of request.

    Parameters
    ----------
    what : str
        Names the requests in the log.
    context
        Fields of both log lines.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic, **context: Any) -> None:
        self._what = what
        self._clock = clock
        self._context = context
        self._since = 0.0
        self.failures = 0

    def failed(self, reason: str) -> float:
        """Record a failure, log the first of a series; return the seconds to wait."""
        self.failures += 1
        if self.failures == 1:
            self._since = self._clock()
            log.warning("sqs.failing", request=self._what, reason=reason, **self._context)
        return backoff(self.failures)

    def succeeded(self) -> None:
        """Record a success, log the end of a series of failures."""
        if self.failures:
            lasted = round(self._clock() - self._since, 1)
            counts = {"failures": self.failures, "outage_seconds": lasted}
            log.info("sqs.recovered", request=self._what, **counts, **self._context)
            self.failures = 0
