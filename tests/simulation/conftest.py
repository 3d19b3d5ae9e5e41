"""Thousands of short runs in one process."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="package", autouse=True)
def _what_is_imported_stays() -> None:
    """Keep the collector from going through all modules again and again: that takes a third of the time.

    Nothing is thawed at the end: `tests.conftest` has frozen what collecting made, and other files follow.
    """
    gc.freeze()
