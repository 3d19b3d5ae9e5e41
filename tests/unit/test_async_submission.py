"""Awaited submissions: the event loop runs on, the first call included, and errors come to the caller."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from celery import Celery, shared_task
from structlog.contextvars import bound_contextvars, get_contextvars

import jobclaim
from jobclaim.jobs import JobStatus
from jobclaim.jobs.storage import lean
from jobclaim.settings import Settings
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask
from jobclaim.workers.submission import asynchronous
from jobclaim.workers.transport import client
from tests.support.fake_aws import FakeAws, environment, fake_aws
from tests.support.stack import ROOT

WATCHED = ("botocore.session", "kombu.asynchronous.http.curl", "pycurl")
WHO: ContextVar[str] = ContextVar("who", default="nobody")


@shared_task(base=JobTask, name="awaited.note")
def note(number: int = 0) -> int:
    """Return the number."""
    return number


@shared_task(base=IdempotentTask, name="awaited.once")
def once(number: int) -> int:
    """Return the number."""
    return number


@shared_task(base=JobTask, bind=True, name="awaited.parent")
def parent(self: Any) -> Any:
    """Submit from a loop of its own."""
    return asyncio.run(note.adelay(1)).id


class Loop:
    """Lets the server, or whoever makes a client, go on only after the event loop has run a callback meanwhile."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.turns = 0

    def wait_for_a_turn(self, *_: Any) -> None:
        turned = threading.Event()
        self.loop.call_soon_threadsafe(turned.set)
        assert turned.wait(20), "the event loop is blocked"
        self.turns += 1


@pytest.fixture
def server() -> Iterator[FakeAws]:
    """AWS that answers everything."""
    with fake_aws() as made:
        yield made


@pytest.fixture
def task(server: FakeAws) -> Iterator[Any]:
    """A task of an app of this test alone, whose process has made no client yet."""

    def body(number: int = 0) -> None:
        """Do nothing."""

    urls = {name: f"{server.url}/1/{name}" for name in ("default", "recovery")}
    app: Any = Celery("awaiting", set_as_current=False)
    jobclaim.install(app, Settings(endpoint_url=server.url, queue_urls=urls))
    yield app.task(base=JobTask, name="awaited.body", shared=False)(body)
    server.before_answer = lambda _: None
    app.jobclaim.flush()


def test_the_loop_runs_on_while_a_first_call_makes_clients_and_waits_for_answers(
    server: FakeAws, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers: list[threading.Thread] = []
    make = lean.client_of

    async def submit() -> Loop:
        loop = Loop()
        server.before_answer = loop.wait_for_a_turn

        def slow(*args: Any) -> Any:
            makers.append(threading.current_thread())
            loop.wait_for_a_turn()
            return make(*args)

        for module in (lean, client):
            monkeypatch.setattr(module, "client_of", slow)
        result = await asyncio.wait_for(task.adelay(), 60)
        assert server.requests[0][1]["Item"]["job_id"]["S"] == result.id
        return loop

    assert asyncio.run(submit()).turns == 4  # two clients, a put and a send
    assert threading.main_thread() not in makers


def test_in_a_new_process_nothing_heavy_is_imported_by_the_loop(server: FakeAws) -> None:
    program = f"""
import asyncio, sys, threading
import jobclaim, jobclaim.workers
from celery import Celery
app = Celery("new"); jobclaim.install(app)
@app.task(base=jobclaim.JobTask, name="first")
def task(): ...

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in {WATCHED}:
            print(f"import:{{name}}", threading.current_thread() is threading.main_thread())

async def main():
    sys.meta_path.insert(0, Watch())
    await task.adelay()

asyncio.run(main())
"""
    env = {**os.environ, **environment(server)}
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, cwd=ROOT, env=env, timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = dict(line.split() for line in done.stdout.splitlines() if line.startswith("import:"))
    assert imported == {f"import:{name}": "False" for name in WATCHED}


def test_many_calls_at_once_are_under_way_together(server: FakeAws, task: Any) -> None:
    together = threading.Barrier(asynchronous.THREADS)
    server.before_answer = lambda operation: together.wait(20) if operation == "PutItem" else None

    async def submit() -> list[Any]:
        return await asyncio.gather(*(task.adelay(number) for number in range(2 * asynchronous.THREADS)))

    assert len({result.id for result in asyncio.run(submit())}) == 2 * asynchronous.THREADS


def test_a_cancelled_caller_does_not_take_the_call_back(server: FakeAws, task: Any) -> None:
    asked, go_on, sent = threading.Event(), threading.Event(), threading.Event()

    def hold(operation: str) -> None:
        if operation == "PutItem":
            asked.set()
            assert go_on.wait(20)
        else:
            sent.set()

    server.before_answer = hold

    async def submit() -> None:
        waiting = asyncio.create_task(task.adelay())
        await asyncio.to_thread(asked.wait, 20)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(submit())
    go_on.set()
    assert sent.wait(20)


def test_options_and_errors_pass_through(jobclaim: Harness) -> None:
    async def submit() -> Any:
        first = await note.aapply_async((1,), {}, "own-id", countdown=60)
        with pytest.raises(TypeError, match="unknown"):
            await note.adelay(unknown=1)
        twice = [await once.adelay(7), await once.aapply_async((7,))]
        return first, twice

    first, twice = asyncio.run(submit())
    assert first.id == "own-id"
    assert jobclaim.repo.get_job("own-id").available_at > jobclaim.repo.clock() + 50_000
    assert twice[0].id == twice[1].id


def test_a_plain_call_works_where_a_loop_runs_already_as_in_a_notebook(jobclaim: Harness) -> None:
    async def cell() -> list[Any]:
        return [note.delay(1), await note.adelay(2), *[await call for call in (note.adelay(3), note.adelay(4))]]

    assert len({result.id for result in asyncio.run(cell())}) == 4
    assert jobclaim.drain() == 4
    assert jobclaim.states() == {JobStatus.COMPLETED: 4}


def test_bulk_submissions_can_be_awaited(jobclaim: Harness) -> None:
    report = asyncio.run(note.asubmit_many([1, 2, 3]))
    assert (report.submitted, report.failed) == (3, 0)


def test_context_variables_come_along(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Any]] = []
    write = JobTask.write_job

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append((WHO.get(), get_contextvars().get("request_id")))
        return write(self, *args, **kwargs)

    monkeypatch.setattr(JobTask, "write_job", spy)

    async def submit() -> None:
        WHO.set("somebody")
        with bound_contextvars(request_id="r1"):
            await note.adelay()

    asyncio.run(submit())
    assert seen == [("somebody", "r1")]


def test_a_job_that_is_submitted_from_a_body_names_its_parent(jobclaim: Harness) -> None:
    outer = parent.delay()
    jobclaim.drain()
    inner = jobclaim.repo.get_job(jobclaim.repo.get_job(outer.id).result)
    assert "parent_id" in (inner.envelope or "")
    assert outer.id in (inner.envelope or "")


def test_a_forked_child_has_threads_of_its_own(jobclaim: Harness) -> None:
    asyncio.run(note.adelay())
    pools = set(asynchronous._pools)
    child = os.fork()
    if not child:
        try:
            asyncio.run(asyncio.wait_for(asynchronous.off_loop(os.getpid), 20))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.getpid() in pools
