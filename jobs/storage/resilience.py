"""Which AWS errors are transient, and how long to retry."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    ParamValidationError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from jobclaim.jobs.clock import Clock, wait
from jobclaim.jobs.errors import StoreUnavailable
from jobclaim.jobs.failures.aws_codes import THROTTLES, UNFIT, spelled
from jobclaim.jobs.failures.aws_errors import explain_aws
from jobclaim.jobs.log import get_logger

T = TypeVar("T")

STALE: Final = (RuntimeError, OSError)
"""Errors that botocore passes through when credentials cannot be refreshed or their file cannot be read."""
PASSING: Final = (HTTPClientError, BotoConnectionError, CredentialRetrievalError, *STALE)
"""No answer in time, no connection, or no credentials from the machine's metadata service or a file."""
TRIES: Final = 3
"""Tries of a request that is not bounded by a lease; boto3 makes two requests per try."""
FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 5.0
MOST_DOUBLINGS: Final = 10
"""More would exceed the longest wait anyway; a power of a very large number of tries would overflow."""
LOUD_AFTER_MS: Final = 5_000
LOUD_EVERY_MS: Final = 60_000
"""How often a request that keeps failing is logged: after some seconds, then every minute."""

log = get_logger("jobclaim.jobs")

_retrying_until: ContextVar[int | None] = ContextVar("insisting", default=None)


def retry_until(at: int | None) -> None:
    """Make requests of this thread that have no bound of their own retry until a time, in epoch milliseconds.

    For requests that must succeed before a claim's end can be written: giving up on them earlier than on that write
    would turn a body's success into a failure. ``None``, or a time in the past, means `TRIES`.
    """
    _retrying_until.set(at)


def is_transient(error: BaseException) -> bool:
    """Check whether the same request may succeed later: no connection, no answer, a server error, throttling."""
    if isinstance(error, PASSING):
        return True
    if not isinstance(error, ClientError):
        return False
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or _code(error) in THROTTLES


def may_pass(error: BaseException) -> bool:
    """Check whether the same request may succeed before a lease ends: unless it was refused for what is in it.

    Access, a table, credentials and a proxy that answers in place of AWS can all be mended in that time.
    """
    if isinstance(error, ClientError):
        return _code(error) not in UNFIT
    return isinstance(error, (BotoCoreError, *STALE)) and not isinstance(error, ParamValidationError)


def persistently(
    request: Callable[[], T],
    *,
    clock: Clock,
    until: int | None = None,
    sleep: Callable[[float], None] = wait,
    service: str = "DynamoDB",
) -> T:
    """Retry a request after transient errors, with full jitter between the tries.

    Parameters
    ----------
    until : int, optional
        Epoch milliseconds until which to retry: the end of the lease, for a write that ends an attempt. No wait goes
        past it; the last try is made then. Whatever may pass is retried then (`may_pass`), because finished work is at
        stake. Default: the time set by `retry_until`; three tries in all if there is none or it is in the past.

    Raises
    ------
    StoreUnavailable
        The last try failed, or the error is not transient.
    botocore.exceptions.ClientError
        ``ConditionalCheckFailedException``, unchanged: the caller knows what it means.
    """
    complaint, attempt = _Complaint(clock, service), 1
    while True:
        try:
            return request()
        except (ClientError, BotoCoreError, *STALE) as error:
            if condition_failed(error):
                raise
            bound = _retrying_until.get() if until is None else until
            passes = (is_transient if bound is None else may_pass)(error)
            if not passes or (attempt >= TRIES and (bound is None or clock() >= bound)):
                raise StoreUnavailable(explain_aws(error, service)) from error
            complaint.about(error)
        sleep(_pause(attempt, bound, clock))
        attempt += 1


def _pause(attempt: int, until: int | None, clock: Clock) -> float:
    """Return the seconds to wait after a failed try, counted from 1: with full jitter, and never past `until`."""
    pause = random.uniform(0, min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(attempt - 1, MOST_DOUBLINGS)))
    left = 0.0 if until is None else (until - clock()) / 1000
    return min(pause, left) if left > 0 else pause


def condition_failed(error: BaseException) -> bool:
    """Check whether DynamoDB refused a write because its condition did not hold."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] == "ConditionalCheckFailedException"


def _code(error: ClientError) -> str:
    return spelled(error.response.get("Error", {}).get("Code", ""))


class _Complaint:
    """Logs from time to time that a request still fails."""

    def __init__(self, clock: Clock, service: str) -> None:
        self.clock = clock
        self.service = service
        self.next_at = clock() + LOUD_AFTER_MS

    def about(self, error: BaseException) -> None:
        """Log the error where it is time to."""
        if self.clock() >= self.next_at:
            self.next_at = self.clock() + LOUD_EVERY_MS
            log.error("aws.failing", reason=explain_aws(error, self.service))
