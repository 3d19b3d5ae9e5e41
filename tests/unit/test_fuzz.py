"""A short run of the fuzzer; ``python -m tests.fuzz --minutes 60`` is the long one."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from tests.fuzz.run import run

CASES = 250


@pytest.fixture
def quiet() -> Iterator[None]:
    """Hostile messages are refused with a line each."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
def test_nothing_breaks_under_hostile_messages_fields_and_requests() -> None:
    seed = int(os.environ.get("TEST_FUZZ_SEED", "18"))
    made = run(seed, cases=CASES)
    assert made.broken == [], f"seed {seed}"
    assert sum(made.cases.values()) == CASES
    assert set(made.cases) == {"message", "fields", "request", "bytes"}
