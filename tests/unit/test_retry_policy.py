"""Retry policies: what they decide, and the figures of the base classes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs import InvalidInput, RetryPolicy, RetryRule
from jobclaim.jobs.failures.retry import LONGEST_DELAY_SECONDS
from jobclaim.workers import EmailTask, ExternalAPITask, IdempotentTask, JobTask, MaintenanceTask, ReportTask

POLICIES = st.builds(
    lambda most, base, factor, more, jitter: RetryPolicy(
        max_attempts=most, base=base, factor=factor, ceiling=base + more, full_jitter=jitter
    ),
    st.none() | st.integers(1, 50),
    st.floats(0, 10_000),
    st.floats(1, 100),
    st.floats(0, 10_000),
    st.booleans(),
)


@given(POLICIES, st.integers(1, 10_000), st.floats(0, 1))
def test_a_delay_stays_within_its_bounds_whatever_is_drawn(policy: RetryPolicy, attempt: int, drawn: float) -> None:
    decision = policy.decide(OSError(), attempt, random=lambda: drawn)
    if policy.max_attempts is not None and attempt >= policy.max_attempts:
        assert not decision.retry
        return
    full = policy.backoff(attempt)
    assert decision.retry
    assert full <= policy.ceiling
    assert decision.delay == pytest.approx(full * drawn if policy.full_jitter else full)


@given(POLICIES, st.integers(1, 5_000))
def test_the_figure_of_a_delay_never_shrinks(policy: RetryPolicy, attempt: int) -> None:
    assert policy.backoff(attempt) <= policy.backoff(attempt + 1)


def test_full_jitter_uses_the_whole_range() -> None:
    policy = RetryPolicy(base=100)
    draws = iter([0.0, 0.5, 1.0])
    assert [policy.decide(None, 1, random=lambda: next(draws)).delay for _ in range(3)] == [0, 50, 100]


def test_a_rule_decides_for_its_exceptions_and_their_subclasses() -> None:
    slow = RetryPolicy(max_attempts=None, base=900, full_jitter=False)
    policy = RetryPolicy(base=1, full_jitter=False, rules=(RetryRule((ValueError,)), RetryRule((OSError,), slow)))
    assert not policy.decide(UnicodeError(), 1).retry
    assert policy.decide(ConnectionError(), 40).delay == 3600
    assert policy.decide(KeyError(), 1).delay == 1
    assert not policy.decide(KeyError(), 3).retry


def test_the_reason_names_the_exception_and_the_attempt_but_no_argument() -> None:
    policy, endless = RetryPolicy(max_attempts=5, rules=(RetryRule((KeyError,)),)), RetryPolicy(max_attempts=None)

    assert policy.decide(OSError("secret"), 2).reason == "OSError in attempt 2 of 5"
    assert policy.decide(KeyError("secret"), 2).reason == "KeyError is never tried again"
    assert policy.decide(OSError("secret"), 5).reason == "attempt 5 of 5 was the last one"
    assert policy.decide(None, 2).reason == "the failure in attempt 2 of 5"
    assert endless.decide(OSError("secret"), 2).reason == "OSError in attempt 2"


def test_the_longest_delay_is_allowed() -> None:
    policy = RetryPolicy(base=LONGEST_DELAY_SECONDS, ceiling=LONGEST_DELAY_SECONDS)

    assert policy.backoff(1) == policy.backoff(10**6) == LONGEST_DELAY_SECONDS


@pytest.mark.parametrize(
    "figures",
    [{"max_attempts": 0}, {"max_attempts": True}, {"base": -1}, {"base": math.nan}, {"base": 10, "ceiling": 5},
     {"factor": 0.5}, {"factor": math.inf}, {"ceiling": 10**9}],
)  # fmt: skip
def test_figures_that_make_no_sense_are_refused(figures: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        RetryPolicy(**figures)


# --- base classes
@pytest.mark.parametrize(
    ("base", "figures", "jitter", "hard_limit", "window"),
    [
        (IdempotentTask, [60, 120, 240], False, None, None),
        (EmailTask, [10, 20, 40, 80, 120], True, 120, "email"),
        (ReportTask, [600, 1200], False, 1800, "reports"),
        (MaintenanceTask, [], None, None, "maintenance"),
        (ExternalAPITask, [60, 120, 240], True, 600, None),
    ],
)
def test_each_base_class_has_the_figures_of_its_row(
    base: type[JobTask], figures: list[float], jitter: bool | None, hard_limit: int | None, window: str | None
) -> None:
    assert base.max_retries == len(figures)
    assert base.time_limit == hard_limit
    assert base.idempotency_ttl == window
    if base.retry_policy is None:
        assert base.autoretry_for == ()
        return
    assert base.autoretry_for == (Exception,)
    assert [base.retry_policy.backoff(attempt) for attempt in range(1, len(figures) + 1)] == figures
    assert base.retry_policy.full_jitter is jitter
    assert not base.retry_policy.decide(OSError(), len(figures) + 1).retry


def test_a_mistake_in_the_call_is_not_tried_again() -> None:
    assert IdempotentTask.retry_policy is not None
    assert not IdempotentTask.retry_policy.decide(InvalidInput("x"), 1).retry


def test_a_class_that_sets_a_policy_is_retried_as_the_policy_says_unless_it_says_otherwise() -> None:
    class Patient(JobTask):
        abstract = True
        retry_policy = RetryPolicy(max_attempts=8)

    class Endless(JobTask):
        abstract = True
        retry_policy = RetryPolicy(max_attempts=None)

    class Own(Patient):
        abstract = True
        retry_policy = RetryPolicy(max_attempts=8)
        max_retries = 1
        autoretry_for = (OSError,)

    assert (Patient.max_retries, Patient.autoretry_for) == (7, (Exception,))
    assert Endless.max_retries is None
    assert (Own.max_retries, Own.autoretry_for) == (1, (OSError,))
