"""A service is down for 30 s: eight worker processes leave it alone, and no job is charged for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jobclaim.jobs import JobStatus
from tests.support.breaker_tasks import FAKE
from tests.support.endpoints import Endpoint
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real

PROCESSES = 8
DOWN_SECONDS = 30
JOBS = 24


class Service:
    """A service on loopback that answers 503 while it is down, and remembers when it was called."""

    def __init__(self) -> None:
        self.down = True
        self.refused_at: list[float] = []
        self.served = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if service.down:
                    service.refused_at.append(time.monotonic())
                else:
                    service.served += 1
                self.send_response(503 if service.down else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join(10)
        made.server.server_close()


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Stack]:
    modules = ("tests.support.breaker_tasks",)
    with deployed(dynamodb_local, elasticmq, tmp_path, task_modules=modules, log_level="INFO") as made:
        yield made


def test_a_service_that_is_down_is_left_alone_and_every_job_completes_uncharged(stack: Stack, service: Service) -> None:
    """Takes 35 s: the service is down for 30, in which the breaker tries it again several times."""
    stack.environment["FAKE_SERVICE_URL"] = service.url
    stack.worker("worker", "-c", str(PROCESSES))
    from jobclaim.workers import create_app
    from jobclaim.workers.submission.dispatch import publish

    app = create_app(stack.settings)
    names = ("tests.guarded", "tests.guarded_inside")
    jobs = [stack.repo.create_job(names[n % 2], {"args": [], "kwargs": {}}, max_attempts=4) for n in range(JOBS)]
    for job in jobs:
        publish(app, job)
    wait_until(lambda: service.refused_at, 30, "the first call fails", poll=0.05)
    up_again = service.refused_at[0] + DOWN_SECONDS
    wait_until(lambda: time.monotonic() >= up_again, DOWN_SECONDS + 5, "the service is down for 30 s", poll=0.2)
    service.down = False

    done = stack.wait_for([job.job_id for job in jobs], JobStatus.COMPLETED, 60)
    probes = DOWN_SECONDS / FAKE.open_seconds
    assert len(service.refused_at) <= PROCESSES + probes
    assert len(service.refused_at) > 2, "it was tried whether it is back"
    assert {job.charged for job in done.values()} == {1}
    assert service.served == JOBS
