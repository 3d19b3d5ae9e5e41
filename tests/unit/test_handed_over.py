"""The memory in which children note the outcomes that they hand over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from jobclaim.jobs.protocol.claims import new_token
from jobclaim.workers.state import handed, worker
from jobclaim.workers.state.handed import CHILDREN, HandedOver
from jobclaim.workers.state.worker import Worker


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The process that notes something; its index may be changed."""
    one = SimpleNamespace(index=0)
    monkeypatch.setattr(handed, "current_process", lambda: one)
    return one


def test_each_child_notes_the_last_outcome_that_it_hands_over(child: Any) -> None:
    page, tokens = HandedOver(), [new_token() for _ in range(4)]
    for child.index, token in zip((0, 1, CHILDREN - 1), tokens, strict=False):
        assert page.put(token)
    assert [page.has(token) for token in tokens] == [True, True, True, False]
    child.index = 1
    assert page.put(tokens[3])
    assert [page.has(token) for token in tokens] == [True, False, True, True]


def test_where_there_is_no_place_nothing_is_noted(child: Any) -> None:
    page = HandedOver()
    assert not page.put("short")
    child.index = CHILDREN
    assert not page.put(new_token())
    del child.index  # a process that is no child of a pool
    assert not page.put(new_token())
    assert not page.has("short")


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker, of which this process is a child."""
    made = worker.begin()
    monkeypatch.setattr(os, "getppid", lambda: made._pid)
    yield made
    worker.end()


def test_outcomes_are_taken_for_a_while(parent: Worker, child: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    token = new_token()
    assert not parent.takes_outcomes()
    assert not parent.hand_over(token)
    parent.take_outcomes(worker.now() + 5)
    assert parent.hand_over(token)
    assert parent.is_handed_over(token)
    later = worker.now() + 6
    monkeypatch.setattr(worker, "now", lambda: later)
    assert not parent.takes_outcomes()
    parent.take_outcomes(later + 5)
    assert parent.takes_outcomes()
    parent.take_outcomes(0)
    assert not parent.takes_outcomes()


def test_no_process_but_a_child_of_the_worker_hands_outcomes_over(
    parent: Worker, child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent.take_outcomes(worker.now() + 5)
    monkeypatch.setattr(os, "getppid", lambda: 1)  # its main process is gone
    assert not parent.takes_outcomes()
    assert not parent.hand_over(new_token())
    placeholder = Worker(shares=False)
    placeholder.take_outcomes(worker.now() + 5)
    answers = [placeholder.takes_outcomes(), placeholder.hand_over("x"), placeholder.is_handed_over("x")]
    assert answers == [False] * 3
