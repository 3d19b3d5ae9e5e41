"""Fixtures of several unit tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from billiard.pool import SIG_SOFT_TIMEOUT, soft_timeout_sighandler

from jobclaim.workers.attempt import soft_limit


@pytest.fixture
def in_child() -> Iterator[None]:
    """Handle the limit's signal as a child of the pool does, in an attempt that has begun: tests before left one."""
    soft_limit.begin_attempt()
    before = signal.signal(SIG_SOFT_TIMEOUT, soft_timeout_sighandler)
    yield
    signal.signal(SIG_SOFT_TIMEOUT, before)
