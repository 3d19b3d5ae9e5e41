"""Retry policies: values that decide whether and when another attempt follows a failed one; they perform nothing.

::

    attempt 1 fails ──▶ base ──▶ attempt 2 fails ──▶ base x factor ──▶ attempt 3 fails ──▶ base x factor^2 ... ceiling
                        with full jitter: anything from 0 to that, so that jobs that failed together spread out
"""

from __future__ import annotations

import math
import random as random_module
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jobclaim.jobs.errors import InvalidInput

LONGEST_DELAY_SECONDS: Final = 30 * 86_400.0
"""Longest retry delay, one month: anything later is a schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDecision:
    """The decision about what follows a failed attempt.

    Attributes
    ----------
    retry : bool
    delay : float
        Seconds from now until the next attempt; 0 if there is none.
    reason : str
        Text for a log line or a person; never contains an argument of the job.
    """

    retry: bool
    delay: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """Figures for some exceptions that replace the policy's own.

    Attributes
    ----------
    errors : tuple of exception classes
        Including subclasses; the first matching rule applies.
    policy : RetryPolicy, optional
        ``None`` means never retry.
    """

    errors: tuple[type[BaseException], ...]
    policy: RetryPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and when a failed job is retried.

    Attributes
    ----------
    max_attempts : int, optional
        Total attempts including the first; ``None`` for no limit.
    base : float
        Delay in seconds after the first failure.
    factor : float
        Factor by which each further delay grows; 1 for equal delays.
    ceiling : float
        Maximum delay in seconds.
    full_jitter : bool
        Draw each delay at random between 0 and the computed delay.
    rules : tuple of RetryRule
        Exceptions with their own figures.

    Raises
    ------
    InvalidInput
        Invalid figures.

    Examples
    --------
    >>> policy = RetryPolicy(max_attempts=4, base=60, full_jitter=False, rules=(RetryRule((ValueError,)),))
    >>> [policy.decide(OSError(), attempt).delay for attempt in (1, 2, 3)]
    [60.0, 120.0, 240.0]
    >>> policy.decide(ValueError(), 1).retry, policy.decide(OSError(), 4).retry
    (False, False)
    """

    max_attempts: int | None = 3
    base: float = 60.0
    factor: float = 2.0
    ceiling: float = 3600.0
    full_jitter: bool = True
    rules: tuple[RetryRule, ...] = ()

    def __post_init__(self) -> None:
        if self.max_attempts is not None and (isinstance(self.max_attempts, bool) or self.max_attempts < 1):
            raise InvalidInput(f"max_attempts={self.max_attempts!r} must be at least 1, or None for no limit")
        if not 0 <= self.base <= LONGEST_DELAY_SECONDS:
            raise InvalidInput(f"base={self.base!r} must be 0 to {LONGEST_DELAY_SECONDS:g} seconds")
        if not self.base <= self.ceiling <= LONGEST_DELAY_SECONDS:
            raise InvalidInput(
                f"ceiling={self.ceiling!r} must be from base={self.base!r} to {LONGEST_DELAY_SECONDS:g} s"
            )
        if not 1 <= self.factor < math.inf:
            raise InvalidInput(f"factor={self.factor!r} must be at least 1, because delays do not shrink")

    def decide(
        self, error: BaseException | None, attempt: int, *, random: Callable[[], float] = random_module.random
    ) -> RetryDecision:
        """Decide what follows when an attempt ended with an error.

        Parameters
        ----------
        attempt : int
            Charged attempts so far, including the failed one: 1 for the first.
        random : callable
            Returns a number from 0 to 1.
        """
        policy = self.policy_for(error)
        name = type(error).__name__ if error is not None else "the failure"
        if policy is None:
            return RetryDecision(retry=False, reason=f"{name} is never tried again")
        if policy.max_attempts is not None and attempt >= policy.max_attempts:
            return RetryDecision(retry=False, reason=f"attempt {attempt} of {policy.max_attempts} was the last one")
        full = policy.backoff(attempt)
        delay = full * random() if policy.full_jitter else full
        of = "" if policy.max_attempts is None else f" of {policy.max_attempts}"
        return RetryDecision(retry=True, delay=delay, reason=f"{name} in attempt {attempt}{of}")

    def backoff(self, attempt: int) -> float:
        """Return the delay in seconds before jitter: ``min(ceiling, base x factor ** (attempt - 1))``."""
        try:
            return min(self.ceiling, self.base * self.factor ** (max(1, attempt) - 1))
        except OverflowError:
            return self.ceiling

    def policy_for(self, error: BaseException | None) -> RetryPolicy | None:
        """Return the policy for an error; ``None`` means never retry."""
        for rule in self.rules:
            if isinstance(error, rule.errors):
                return rule.policy.policy_for(error) if rule.policy is not None else None
        return self
