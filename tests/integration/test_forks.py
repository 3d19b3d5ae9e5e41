"""A server that preloads: its forked children leave the connections of their parent alone, TLS's farewell included."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_aws import FakeAws, environment, fake_aws, make_certificate
from tests.support.stack import ROOT

PARENT = """
import gc, os, sys
from celery import Celery
import jobclaim

app = Celery("preloaded")
jobclaim.install(app)

@app.task(base=jobclaim.JobTask, name="note")
def note(): ...

note.delay()
{before}
child = os.fork()
if not child:
    {child}
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
{after}
note.delay()
sys.exit(status)
"""


GRANDCHILD = (
    "note.delay(); pid = os.fork(); pid or (note.delay(), sys.exit()); os.waitpid(pid, 0); note.delay(); sys.exit()"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeAws]:
    """AWS behind TLS."""
    with fake_aws(make_certificate(tmp_path / "certificate.pem")) as made:
        yield made


@pytest.mark.parametrize(
    ("child", "connections", "jobs"),
    [
        ("sys.exit()", 2, 2),
        ("gc.collect(); app.jobclaim = None; gc.collect(); sys.exit()", 2, 2),
        ("note.delay(); sys.exit()", 4, 3),
        ("note.delay(); gc.collect(); os._exit(0)", 4, 3),
        (GRANDCHILD, 6, 5),
    ],
    ids=["ends", "drops everything", "submits and ends", "submits and is cut off", "grandchild"],
)
def test_a_forked_child_neither_uses_nor_closes_the_connections_of_its_parent(
    server: FakeAws, tmp_path: Path, child: str, connections: int, jobs: int
) -> None:
    run(server, tmp_path, child=child)
    assert server.count("PutItem") == server.count("SendMessage") == jobs
    # one to DynamoDB and one to SQS for each process that submits: the parent's second call finds its own still open
    assert server.connections == connections


def test_a_child_does_not_wait_for_a_producer_that_its_parent_was_using(server: FakeAws, tmp_path: Path) -> None:
    hold = "app.producer_pool.limit = 1; held = app.producer_pool.acquire(block=True)"
    run(server, tmp_path, before=hold, child="note.delay(); sys.exit()", after="held.release()")
    assert server.count("PutItem") == server.count("SendMessage") == 3


def run(server: FakeAws, folder: Path, *, before: str = "", child: str, after: str = "") -> None:
    """Run the parent with its child to their ends."""
    env = {**os.environ, **environment(server), "AWS_CA_BUNDLE": str(folder / "certificate.pem")}
    done = subprocess.run(
        [sys.executable, "-c", PARENT.format(before=before, child=child, after=after)],
        cwd=ROOT,
        env=env,
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
