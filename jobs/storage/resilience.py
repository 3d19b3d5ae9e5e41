"""Which AWS errors are transient, and how long to retry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from itertools import chain, repeat
from typing import Any, Final, NoReturn, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    ParamValidationError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential
from tenacity.stop import stop_base
from tenacity.wait import wait_base

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
    started = clock()
    try:
        return request()  # usually succeeds; what repeats it is built only after a failure
    except (ClientError, BotoCoreError, *STALE) as error:
        tries: Iterator[Callable[[], T]] = chain([partial(_fail, error)], repeat(request))
    until = _retrying_until.get() if until is None else until
    backoff = wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS)
    retrying = Retrying(
        retry=retry_if_exception(is_transient if until is None else may_pass),
        before_sleep=_Complaint(clock, started, service),
        wait=backoff if until is None else _wait_within(until, clock, backoff),
        stop=stop_after_attempt(TRIES) if until is None else _stop_at(until, clock),
        sleep=sleep,
        reraise=True,
    )

    def next_try() -> T:
        return next(tries)()

    try:
        return retrying(next_try)
    except (ClientError, BotoCoreError, *STALE) as error:
        if condition_failed(error):
            raise
        raise StoreUnavailable(explain_aws(error, service)) from error


def condition_failed(error: BaseException) -> bool:
    """Check whether DynamoDB refused a write because its condition did not hold."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] == "ConditionalCheckFailedException"


def _code(error: ClientError) -> str:
    return spelled(error.response.get("Error", {}).get("Code", ""))


def _fail(error: Exception) -> NoReturn:
    raise error


class _Complaint:
    """Logs from time to time that a request still fails."""

    def __init__(self, clock: Clock, started: int, service: str) -> None:
        self.clock = clock
        self.service = service
        self.next_at = started + LOUD_AFTER_MS

    def __call__(self, retry_state: Any) -> None:
        if self.clock() >= self.next_at:
            self.next_at = self.clock() + LOUD_EVERY_MS
            reason = explain_aws(retry_state.outcome.exception(), self.service)
            log.error("aws.failing", reason=reason)


class _stop_at(stop_base):  # noqa: N801 - named as tenacity names its own
    def __init__(self, until: int, clock: Clock) -> None:
        self.until, self.clock = until, clock

    def __call__(self, retry_state: Any) -> bool:
        return self.clock() >= self.until and bool(retry_state.attempt_number >= TRIES)


class _wait_within(wait_base):  # noqa: N801
    def __init__(self, until: int, clock: Clock, backoff: wait_base) -> None:
        self.until, self.clock, self.backoff = until, clock, backoff

    def __call__(self, retry_state: Any) -> float:
        wait, left = self.backoff(retry_state), (self.until - self.clock()) / 1000
        return min(wait, left) if left > 0 else wait
