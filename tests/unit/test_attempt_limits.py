"""Time limits inside an attempt: what a thread reports, and what handles the soft limit's signal in a child."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from billiard.pool import SIG_SOFT_TIMEOUT, soft_timeout_sighandler
from celery.exceptions import SoftTimeLimitExceeded

from jobclaim.jobs import JobCancelled
from jobclaim.jobs.repo import delivery
from jobclaim.workers.attempt import running, soft_limit
from jobclaim.workers.attempt.checking import check_cancelled
from jobclaim.workers.attempt.running import WRITING_MS, ThreadAttempt
from jobclaim.workers.attempt.soft_limit import SoftLimit
from jobclaim.workers.state import worker


class Gate:
    """A worker's state that says whether heartbeats succeed."""

    def __init__(self, is_open: bool) -> None:
        self._is_open = is_open

    def may_claim(self) -> bool:
        return self._is_open


@pytest.fixture(autouse=True)
def outside() -> Iterator[None]:
    """Leave no attempt behind."""
    yield
    running.leave()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A monotonic clock that stands still."""
    found = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: found[0])
    return found


def test_a_thread_reports_its_limit_once_when_it_is_reached(now: list[float]) -> None:
    running.enter(5.0)
    attempt = running.current()
    assert attempt is not None
    assert (attempt.soft_at, attempt.soft_limit) == (105.0, 5.0)
    reports = []
    for at in (104.9, 105.0, 106.0):
        now[0] = at
        reports.append(attempt.report_limit())
    assert reports == [False, True, False]


def test_a_thread_without_a_limit_reports_none_and_one_that_has_left_is_none(now: list[float]) -> None:
    running.enter(None)
    assert running.current() == ThreadAttempt(None, None)
    assert not ThreadAttempt(None).report_limit()
    running.leave()
    assert running.current() is None


@pytest.mark.parametrize(
    ("inside", "is_open", "until"),
    [(True, True, 5_000 + WRITING_MS), (True, False, 1_000), (False, True, 1_000), (False, False, 1_000)],
)
def test_a_vouched_for_attempt_may_write_past_its_lease(
    monkeypatch: pytest.MonkeyPatch, inside: bool, is_open: bool, until: int
) -> None:
    monkeypatch.setattr(worker, "current", lambda: Gate(is_open))
    if inside:
        running.enter(None)
    assert running.is_vouched_for() is (inside and is_open)
    assert running.write_until(1_000, 5_000) == until
    assert running.write_until(900_000, 5_000) == 900_000


class Delivery(delivery.Delivery):
    """A message whose job is being cancelled, or not."""

    def __init__(self, cancelled: bool) -> None:
        self._cancelled = cancelled

    def sees_cancel(self) -> bool:
        return self._cancelled


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_body_that_checks_learns_of_a_cancellation_and_of_its_limit(
    monkeypatch: pytest.MonkeyPatch, now: list[float], cancelled: bool
) -> None:
    monkeypatch.setattr(delivery, "current", lambda: Delivery(cancelled))
    if cancelled:
        with pytest.raises(JobCancelled):
            check_cancelled()
        return
    check_cancelled()
    running.enter(5.0)
    check_cancelled()
    now[0] += 5
    with pytest.raises(SoftTimeLimitExceeded) as caught:
        check_cancelled()
    assert caught.value.args == (5.0,)
    check_cancelled()


# --- the signal
@pytest.fixture
def in_a_child() -> Iterator[None]:
    """Put billiard's handler in place, as a child of the pool has it."""
    before = signal.signal(SIG_SOFT_TIMEOUT, soft_timeout_sighandler)
    yield
    signal.signal(SIG_SOFT_TIMEOUT, before)


def deliver() -> None:
    handler: Any = signal.getsignal(SIG_SOFT_TIMEOUT)
    handler(SIG_SOFT_TIMEOUT, None)


@pytest.mark.usefixtures("in_a_child")
def test_the_signal_is_dropped_from_the_first_write_on() -> None:
    with SoftLimit():
        deliver()


@pytest.mark.usefixtures("in_a_child")
def test_the_signal_is_dropped_while_an_outcome_is_written_and_handled_before_and_after() -> None:
    limit = SoftLimit()
    with limit, limit:
        deliver()
    with pytest.raises(SoftTimeLimitExceeded):
        deliver()
    with limit:
        deliver()
    assert signal.getsignal(SIG_SOFT_TIMEOUT) is limit


@pytest.mark.usefixtures("in_a_child")
def test_the_signal_goes_to_the_body_that_handles_it_and_to_the_one_around_it_afterwards() -> None:
    limit, got = SoftLimit(), list[str]()

    def handler(name: str) -> Callable[..., None]:
        return lambda *received: got.append(f"{name} {received[0] == SIG_SOFT_TIMEOUT}")

    with limit.handled_by(handler("outer")):
        with suppress(KeyError), limit.handled_by(handler("inner")):
            deliver()
            with limit:
                deliver()
            raise KeyError
        deliver()
    assert got == ["inner True", "outer True"]
    with pytest.raises(SoftTimeLimitExceeded):
        deliver()


def other(*_: Any) -> None:
    """A handler that is not billiard's."""


@pytest.mark.usefixtures("in_a_child")
def test_a_handler_that_is_not_billiards_stays_and_a_thread_changes_none() -> None:
    limit, calls = SoftLimit(), list[bool]()

    def in_thread() -> None:
        with limit, limit.handled_by(other):
            calls.append(True)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join(60)
    assert calls == [True]
    assert signal.getsignal(SIG_SOFT_TIMEOUT) is soft_timeout_sighandler
    with pytest.raises(SoftTimeLimitExceeded):
        limit(SIG_SOFT_TIMEOUT, None)
    signal.signal(SIG_SOFT_TIMEOUT, other)
    with limit, limit.handled_by(other):
        assert signal.getsignal(SIG_SOFT_TIMEOUT) is other


def test_the_process_has_one_handler() -> None:
    assert soft_limit.passes_by() is soft_limit.passes_by()
    with soft_limit.handled_by(other):
        assert soft_limit.passes_by()._of_body is other  # type: ignore[attr-defined]
    assert soft_limit.passes_by()._of_body is None  # type: ignore[attr-defined]
