"""Fixtures for pytest, found by their entry point: tests only name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jobclaim.testing.harness import Harness


@pytest.fixture
def jobclaim_app() -> Any:
    """The app under test, the default app; override it where tests make an app of their own."""
    from jobclaim.workers.apps import default_app

    return default_app()


@pytest.fixture
def jobclaim(jobclaim_app: Any) -> Iterator[Harness]:
    """A table in memory, a queue that is a list, and `drain`: see `jobclaim.testing.Harness`."""
    from jobclaim.testing.harness import Harness

    with Harness.of(jobclaim_app) as harness:
        yield harness


@pytest.fixture
def jobclaim_eager(jobclaim: Harness) -> Harness:
    """As ``jobclaim``, but messages are delivered as soon as they are sent."""
    jobclaim.eager = True
    return jobclaim
