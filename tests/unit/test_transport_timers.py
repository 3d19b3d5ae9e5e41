"""The event loop of a worker holds one timer of curl, due when curl asks for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from kombu.asynchronous import Hub

from jobclaim.workers.transport.http import PatientClient


@pytest.fixture
def hub() -> Iterator[Any]:
    made = Hub()
    yield made
    made.close()


def waits(hub: Any) -> list[float]:
    """Return the seconds until the timers of curl that are not cancelled, the repeated one apart."""
    now = time.monotonic()
    entries = [one for one in hub.timer._queue if not one.entry.canceled and not hasattr(one.entry.fun, "__wrapped__")]
    return [one.eta - now for one in entries]


def test_a_timer_replaces_the_one_before_and_is_due_in_milliseconds(hub: Any) -> None:
    client = PatientClient(hub, 1)

    for _ in range(100):
        client._set_timeout(15_000)

    (seconds,) = waits(hub)
    assert 10 < seconds <= 15


def test_a_negative_time_removes_the_timer(hub: Any) -> None:
    client = PatientClient(hub, 1)
    client._set_timeout(15_000)

    client._set_timeout(-1)

    assert waits(hub) == []


def test_a_client_that_leaves_the_loop_sets_none(hub: Any) -> None:
    client = PatientClient(hub, 1)
    client.retire()

    client._set_timeout(0)

    assert [seconds for seconds in waits(hub) if seconds > 0] == []
