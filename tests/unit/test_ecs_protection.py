"""Scale-in protection, against an agent that is an HTTP server of the test's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.waiting import wait_until
from workers.ecs import RENEW_SECONDS, Protection, agent_url

ON, OFF = {"ProtectionEnabled": True, "ExpiresInMinutes": 60}, {"ProtectionEnabled": False}


class Agent:
    """Remembers what it was told; answers with failures while ``failing``."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self.failing = False
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                agent.paths.add(self.path)
                if not agent.failing:
                    agent.told.append(body)
                answer = {"failure": {"Reason": "DEPLOYMENT_BLOCKED"}} if agent.failing else {"protection": body}
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = Agent()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join(10)
    made.server.server_close()


class Worker:
    """Something that is busy or not, and a clock in seconds."""

    def __init__(self, agent: Agent) -> None:
        self.busy, self.now = False, 100.0
        self.protection = Protection(f"{agent.base}/x", lambda: self.busy, idle_seconds=5, clock=lambda: self.now)

    def at(self, now: float, *, busy: bool) -> None:
        self.busy, self.now = busy, 100.0 + now
        self.protection.look()


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
    protection.look()
    protection.look()


def test_the_thread_protects_and_a_stop_gives_up(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECS_AGENT_URI", f"{agent.base}/api/abc")
    url = agent_url()
    assert url is not None
    protection = Protection(url, lambda: True)
    protection.start()
    wait_until(lambda: agent.told == [ON], 10, "the agent knows")
    protection.stop()
    assert agent.told == [ON, OFF]
    assert agent.paths == {"/api/abc/task-protection/v1/state"}


def test_outside_ecs_there_is_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECS_AGENT_URI", raising=False)
    assert agent_url() is None
