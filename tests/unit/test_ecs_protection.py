"""Scale-in protection, against an agent that is an HTTP server of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import IncompleteRead
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobclaim.workers.process.ecs import RENEW_SECONDS, Protection, agent_url
from tests.support.ecs_agent import OFF, ON, Agent
from tests.support.waiting import wait_until


@pytest.fixture
def agent() -> Iterator[Agent]:
    with Agent() as made:
        yield made


class Worker:
    """Something that is busy or not, and a clock in seconds."""

    def __init__(self, agent: Agent) -> None:
        self.busy, self.now = False, 100.0
        self.protection = Protection(f"{agent.base}/x", lambda: self.busy, idle_seconds=5, clock=lambda: self.now)

    def at(self, now: float, *, busy: bool) -> None:
        self.busy, self.now = busy, 100.0 + now
        self.protection.check()


def test_the_agent_is_told_when_the_worker_becomes_busy_and_when_it_has_been_idle_for_a_while(agent: Agent) -> None:
    worker = Worker(agent)
    worker.at(0, busy=False)
    assert agent.told == []
    for now in (1.0, 1.5, 2.0):
        worker.at(now, busy=True)
    worker.at(3, busy=False)
    worker.at(4, busy=True)
    worker.at(8, busy=False)
    assert agent.told == [ON]
    worker.at(9, busy=False)
    assert agent.told == [ON, OFF]


def test_a_long_job_renews_its_protection_before_it_expires(agent: Agent) -> None:
    worker = Worker(agent)
    worker.at(0, busy=True)
    worker.at(RENEW_SECONDS - 1, busy=True)
    worker.at(RENEW_SECONDS, busy=True)
    assert agent.told == [ON, ON]
    assert 60 * ON["ExpiresInMinutes"] > RENEW_SECONDS


def test_a_refusal_is_tried_again_but_not_at_once(agent: Agent) -> None:
    worker = Worker(agent)
    agent.failing = True
    worker.at(0, busy=True)
    agent.failing = False
    worker.at(1, busy=True)
    assert agent.told == []
    worker.at(2, busy=True)
    assert agent.told == [ON]


def test_an_agent_that_is_away_disturbs_nothing() -> None:
    protection = Protection("http://127.0.0.1:9/x", lambda: True)
    protection.check()
    protection.check()


@pytest.mark.parametrize("answer", [b"[]", b"null", b'"busy"', b"<html>"])
def test_an_answer_that_is_none_is_a_refusal(agent: Agent, answer: bytes) -> None:
    worker = Worker(agent)
    agent.says = answer
    worker.at(0, busy=True)
    agent.told.clear()
    agent.says = None
    worker.at(1, busy=True)
    assert agent.told == []
    worker.at(2, busy=True)
    assert agent.told == [ON]


def test_half_an_answer_is_a_refusal(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: Any, **__: Any) -> None:
        raise IncompleteRead(b"{")

    worker = Worker(agent)
    with monkeypatch.context() as patch:
        patch.setattr(json, "load", cut)
        worker.at(0, busy=True)
    agent.told.clear()
    worker.at(2, busy=True)
    assert agent.told == [ON]


def test_the_thread_outlives_whatever_it_meets(agent: Agent) -> None:
    broken = [True]

    def busy() -> bool:
        if broken:
            broken.pop()
            raise RuntimeError("changed size during iteration")
        return True

    protection = Protection(f"{agent.base}/x", busy)
    with capture_logs() as lines:
        protection.start()
        wait_until(lambda: agent.told == [ON], 30, "the agent knows")
        protection.stop()
    assert "protection.failed" in [line["event"] for line in lines]


def test_the_thread_protects_and_a_stop_gives_up(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECS_AGENT_URI", f"{agent.base}/api/abc")
    url = agent_url()
    assert url is not None
    protection = Protection(url, lambda: True)
    protection.start()
    wait_until(lambda: agent.told == [ON], 30, "the agent knows")
    protection.stop()
    assert agent.told == [ON, OFF]
    assert agent.paths == {"/api/abc/task-protection/v1/state"}


def test_outside_ecs_there_is_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECS_AGENT_URI", raising=False)
    assert agent_url() is None
