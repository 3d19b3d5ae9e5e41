"""When a stop ends children that have nothing to do."""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import MagicMock

import pytest
from celery.worker import state

from jobclaim.settings import Settings
from jobclaim.workers import create_app
from jobclaim.workers.process.cancels import GENTLE_SECONDS
from jobclaim.workers.process.shutdown import IDLE_SECONDS, Shutdown

REQUEST: Any = "a request"
FIRST_LOOK = 1_000.0
"""By ``time.monotonic()``, which is the time since the machine started."""


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(state, "should_stop", 0)
    monkeypatch.setattr(threading, "Timer", MagicMock())
    return MagicMock(**{"left.return_value": [7, 8], "are_starting.return_value": False})


@pytest.fixture
def stop(children: Any, tmp_path: Any) -> Shutdown:
    app = create_app(Settings(run_dir=str(tmp_path), stop_timeout_seconds=60))
    return Shutdown(app, MagicMock(), children, MagicMock(), MagicMock())


def ended_at(stop: Shutdown, children: Any, *looks: float, active: Any = ()) -> list[tuple[float, bool]]:
    """Look at these seconds after the first look, and give when children were ended, and how: gently or at once."""
    ended: list[tuple[float, bool]] = []
    for seconds in (0.0, *looks):
        children.end_now.side_effect = lambda _, gently, at=seconds: ended.append((at, gently))
        stop.supervise(active, FIRST_LOOK + seconds)
    return ended


def test_idle_children_get_their_time_from_the_first_look_on(stop: Shutdown, children: Any) -> None:
    killed_at = IDLE_SECONDS + GENTLE_SECONDS
    looks = (IDLE_SECONDS - 0.1, IDLE_SECONDS, killed_at - 0.1, killed_at)
    assert ended_at(stop, children, *looks) == [(IDLE_SECONDS, True), (killed_at, False)]


def test_children_that_have_not_confirmed_a_job_are_ended_at_the_deadline_only(stop: Shutdown, children: Any) -> None:
    children.are_starting.return_value = True
    assert ended_at(stop, children, 10.0, 49.9, 60.0) == [(60.0, False)]


def test_a_pool_that_does_not_close_yet_has_no_idle_children(stop: Shutdown, children: Any) -> None:
    children.left.return_value = []
    assert ended_at(stop, children, 10.0) == []


def test_a_cold_stop_waits_for_no_job(stop: Shutdown, children: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "should_terminate", 1)
    released: list[Any] = []
    monkeypatch.setattr(stop, "release", released.append)
    assert ended_at(stop, children, stop.last_seconds, active=[REQUEST]) == [(stop.last_seconds, False)]
    assert released == [REQUEST] * 2


def test_a_warm_stop_that_becomes_a_cold_one_waits_no_longer(
    stop: Shutdown, children: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[Any] = []
    monkeypatch.setattr(stop, "release", released.append)
    stop.supervise([REQUEST], FIRST_LOOK)
    assert released == []
    monkeypatch.setattr(state, "should_terminate", 1)
    stop.supervise([REQUEST], FIRST_LOOK + 1)
    assert released == [REQUEST]
