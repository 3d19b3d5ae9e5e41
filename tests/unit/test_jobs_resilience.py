"""Which errors are tried again, how often, and when it is too late."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ProxyConnectionError,
    ReadTimeoutError,
)
from structlog.testing import capture_logs

from jobclaim.jobs import StoreUnavailable
from jobclaim.jobs.failures.aws_codes import ACCESS, THROTTLES
from jobclaim.jobs.storage.resilience import (
    LONGEST_WAIT_SECONDS,
    LOUD_AFTER_MS,
    TRIES,
    condition_failed,
    is_transient,
    may_pass,
    persistently,
    retry_until,
)
from tests.support.clock import ManualClock

LINE = "http://dynamodb"
LINE_ERRORS = [
    ReadTimeoutError(endpoint_url=LINE),
    ConnectTimeoutError(endpoint_url=LINE),
    EndpointConnectionError(endpoint_url=LINE),
    ConnectionClosedError(endpoint_url=LINE),
    ProxyConnectionError(proxy_url=LINE),
    CredentialRetrievalError(provider="container-role", error_msg="timed out"),
    RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    PermissionError(13, "Permission denied", "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"),
]


def refused(code: str, status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "because"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(cast("Any", answer), "UpdateItem")


class Flaky:
    """A request that fails with each error in turn, and then answers."""

    def __init__(self, *errors: Exception, takes: Callable[[], object] = lambda: None) -> None:
        self.errors = list(errors)
        self.tries = 0
        self.takes = takes

    def __call__(self) -> str:
        self.tries += 1
        self.takes()
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


@pytest.mark.parametrize("error", LINE_ERRORS, ids=lambda error: type(error).__name__)
def test_a_request_that_got_no_answer_is_made_again(clock: ManualClock, error: Exception) -> None:
    request = Flaky(error, error)

    assert persistently(request, clock=clock, sleep=clock.advance) == "answer"
    assert request.tries == 3


@pytest.mark.parametrize("code", [*sorted(THROTTLES), "InternalServerError", "ServiceUnavailable"])
def test_a_request_that_was_throttled_or_met_a_servers_fault_is_made_again(clock: ManualClock, code: str) -> None:
    request = Flaky(refused(code, 400 if code in THROTTLES else 500))

    assert persistently(request, clock=clock, sleep=clock.advance) == "answer"
    assert request.tries == 2


@pytest.mark.parametrize(
    "error",
    [
        refused("ValidationException"),
        refused("IdempotentParameterMismatchException"),
        ParamValidationError(report="x"),
    ],
    ids=str,
)
def test_a_request_that_is_refused_for_what_is_in_it_is_not_made_again(clock: ManualClock, error: Exception) -> None:
    request = Flaky(error)

    with pytest.raises(StoreUnavailable) as told:
        persistently(request, clock=clock, until=clock() + 60_000, sleep=clock.advance)
    assert request.tries == 1
    assert told.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [refused("ResourceNotFoundException"), refused("404", 404), refused("Strange"), NoCredentialsError()],
    ids=str,
)
def test_whatever_can_be_mended_before_a_time_is_tried_until_then_and_told_at_once_without_one(
    clock: ManualClock, error: Exception
) -> None:
    request, other = Flaky(*[error] * 9), Flaky(error)

    assert persistently(request, clock=clock, until=clock() + 3_600_000, sleep=clock.advance) == "answer"
    with pytest.raises(StoreUnavailable) as told:
        persistently(other, clock=clock, sleep=clock.advance)
    assert (other.tries, told.value.__cause__) == (1, error)


@pytest.mark.parametrize("code", sorted(ACCESS))
@pytest.mark.parametrize("suffix", ["", "Exception"])
def test_refused_access_is_told_at_once_where_no_finished_work_is_at_stake(
    clock: ManualClock, code: str, suffix: str
) -> None:
    request = Flaky(refused(code + suffix))

    with pytest.raises(StoreUnavailable):
        persistently(request, clock=clock, sleep=clock.advance)
    assert request.tries == 1


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            refused("ResourceNotFoundException"),
            "refused UpdateItem with ResourceNotFoundException: because.*jobclaim up",
        ),
        (refused("AccessDeniedException"), r"policy in template\.yaml"),
        (refused("UnrecognizedClientException"), "check the credentials"),
        (refused("Strange"), "jobclaim doctor"),
        (LINE_ERRORS[2], "did not answer: Could not connect.*check the endpoint"),
    ],
    ids=str,
)
def test_the_error_says_what_was_refused_and_what_to_do(clock: ManualClock, error: Exception, remedy: str) -> None:
    with pytest.raises(StoreUnavailable, match=remedy):
        persistently(Flaky(*[error] * 5), clock=clock, sleep=clock.advance)


def test_a_condition_that_failed_is_the_callers_and_is_not_tried_again(clock: ManualClock) -> None:
    error = refused("ConditionalCheckFailedException")
    request = Flaky(error)

    with pytest.raises(ClientError) as told:
        persistently(request, clock=clock, until=clock() + 60_000, sleep=clock.advance)
    assert told.value is error
    assert (request.tries, condition_failed(error), is_transient(error)) == (1, True, False)


@pytest.mark.parametrize("error", [KeyError("bug"), KeyboardInterrupt(), TypeError("bug")])
def test_an_error_of_the_program_passes_through(clock: ManualClock, error: BaseException) -> None:
    def request() -> None:
        raise error

    with pytest.raises(type(error)):
        persistently(request, clock=clock, sleep=clock.advance)


def test_three_tries_are_made_of_a_request_that_no_lease_bounds(clock: ManualClock) -> None:
    request, start = Flaky(*LINE_ERRORS), clock()

    with pytest.raises(StoreUnavailable):
        persistently(request, clock=clock, sleep=clock.advance)
    assert request.tries == TRIES
    assert clock() - start < 1000


def test_a_write_that_ends_an_attempt_is_tried_until_the_lease_is_over_and_then_once_more(clock: ManualClock) -> None:
    until = clock() + 60_000
    tried_at: list[int] = []
    request = Flaky(*[LINE_ERRORS[0]] * 10_000, takes=lambda: tried_at.append(clock()))

    with pytest.raises(StoreUnavailable):
        persistently(request, clock=clock, until=until, sleep=clock.advance)

    assert max(tried_at) == clock() == until, "no wait goes past the end of the lease"
    gaps = [later - earlier for earlier, later in pairwise(tried_at)]
    assert max(gaps) <= LONGEST_WAIT_SECONDS * 1000
    assert request.tries >= 60 / LONGEST_WAIT_SECONDS


def test_waits_double_up_to_the_longest_one(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobclaim.jobs.storage.resilience.random.uniform", lambda _, longest: longest)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds)

    with pytest.raises(StoreUnavailable):
        persistently(Flaky(*[LINE_ERRORS[0]] * 100), clock=clock, until=clock() + 60_000, sleep=sleep)
    assert waits[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS]


def test_a_write_succeeds_when_the_outage_ends_before_the_lease(clock: ManualClock) -> None:
    back = clock() + 40_000

    def request() -> str:
        if clock() < back:
            raise LINE_ERRORS[2]
        return "answer"

    assert persistently(request, clock=clock, until=clock() + 60_000, sleep=clock.advance) == "answer"
    assert clock() < back + LONGEST_WAIT_SECONDS * 1000


@pytest.mark.parametrize("over_since_ms", [0, 1, 60_000])
def test_a_write_after_the_end_of_the_lease_gets_the_tries_that_any_request_gets(
    clock: ManualClock, over_since_ms: int
) -> None:
    request, waits = Flaky(*LINE_ERRORS), list[float]()

    with pytest.raises(StoreUnavailable):
        persistently(request, clock=clock, until=clock() - over_since_ms, sleep=waits.append)
    assert request.tries == TRIES
    assert all(waits), "nor are they made at once"


def test_slow_answers_count_as_time_too(clock: ManualClock) -> None:
    request = Flaky(*[LINE_ERRORS[0]] * 100, takes=lambda: clock.advance(10))

    with pytest.raises(StoreUnavailable):
        persistently(request, clock=clock, until=clock() + 25_000, sleep=clock.advance)
    assert request.tries == TRIES


def test_a_threads_bound_holds_for_requests_that_have_none_of_their_own_until_it_is_taken_back(
    clock: ManualClock,
) -> None:
    denied = refused("AccessDeniedException")
    retry_until(clock() + 60_000)
    try:
        assert persistently(Flaky(*[denied] * 9), clock=clock, sleep=clock.advance) == "answer"
    finally:
        retry_until(None)
    with pytest.raises(StoreUnavailable):
        persistently(Flaky(denied), clock=clock, sleep=clock.advance)


@pytest.mark.parametrize(("lasted_ms", "lines"), [(LOUD_AFTER_MS - 1, 0), (LOUD_AFTER_MS, 1)])
def test_a_request_that_keeps_failing_is_logged_after_some_seconds(
    clock: ManualClock, lasted_ms: int, lines: int
) -> None:
    request = Flaky(LINE_ERRORS[0], takes=lambda: clock.advance(lasted_ms / 1000))

    with capture_logs() as logged:
        persistently(request, clock=clock, until=clock() + 60_000, sleep=clock.advance)
    assert [line["event"] for line in logged] == ["aws.failing"] * lines


def test_an_error_that_is_not_of_aws_does_not_pass_by_itself() -> None:
    assert (may_pass(KeyError("bug")), may_pass(LINE_ERRORS[0])) == (False, True)
