"""Thousands of short runs in one process."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def _what_is_imported_stays() -> Iterator[None]:
    """Keep the collector from going through all modules again and again: that takes a third of the time."""
    gc.freeze()
    yield
    gc.unfreeze()
