"""Fixtures for pytest, registered by an entry point, so that tests need no import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jobclaim.testing.harness import Harness


@pytest.fixture
def jobclaim_app() -> Any:
    """Return the app under test, by default the default app; override this fixture to test another app."""
    from jobclaim.workers.apps import default_app

    return default_app()


@pytest.fixture
def jobclaim(jobclaim_app: Any) -> Iterator[Harness]:
    """Provide a `jobclaim.testing.Harness`: a table in memory, a list as the queue, and `drain` as the worker."""
    from jobclaim.testing.harness import Harness

    with Harness.of(jobclaim_app) as harness:
        yield harness


@pytest.fixture
def jobclaim_eager(jobclaim: Harness) -> Harness:
    """Provide a harness like ``jobclaim`` that delivers messages as soon as they are sent."""
    jobclaim.eager = True
    return jobclaim
