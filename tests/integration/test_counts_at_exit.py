"""A program that submits and ends is in the fleet's counts, however it ends, and ends soon where DynamoDB is away."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.fake_aws import FakeAws, environment, fake_aws

SHOP = """
from celery import Celery
import jobclaim

app = Celery("shop")
jobclaim.install(app)

@app.task(base=jobclaim.JobTask, name="note")
def note(number=0): ...

@app.task(name="plain")
def plain(job_id): app.jobclaim.repo.claim_job(job_id)
"""
BEGINNING = "import jobclaim, os, sys, multiprocessing, threading, concurrent.futures; from shop import app, note\n"
CHILD = """
process = multiprocessing.get_context("fork").Process(target=note.delay)
process.start(); process.join(); sys.exit(process.exitcode)
"""
POOL = """
with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
    pool.submit(os.getpid).result()
"""
FORK = """
pid = os.fork()
if not pid:
    {}; sys.exit(0)
os.waitpid(pid, 0)
"""
OWN_REPO = """
import boto3
client = boto3.client("dynamodb", endpoint_url=os.environ["JOBCLAIM_ENDPOINT_URL"])  # tries for minutes by default
repo = jobclaim.JobRepo(client)
"""
SUBMIT = "for _ in range(3): note.delay()\n"


@pytest.fixture
def server() -> Iterator[FakeAws]:
    """AWS that answers everything."""
    with fake_aws() as made:
        yield made


def run(server: FakeAws, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    (folder / "shop.py").write_text(SHOP)
    env = {**os.environ, **environment(server), "PYTHONPATH": str(folder)}
    return warm.run([sys.executable, *argv], cwd=folder, env=env)


def counted(server: FakeAws) -> Counter[str]:
    """What was added to the fleet's counts."""
    total: Counter[str] = Counter()
    for operation, body in server.requests:
        key = body.get("Key", {}) if operation == "UpdateItem" else {}
        if any(value.get("S", "").startswith("#tally#") for value in key.values()):
            values = body["ExpressionAttributeValues"]
            names = [name for name in (":submitted", ":duplicates") if name in values]
            total.update({name[1:]: int(values[name]["N"]) for name in names})
    return total


@pytest.mark.parametrize(
    ("program", "jobs"),
    [
        (SUBMIT, 3),
        (SUBMIT + "sys.exit(0)", 3),
        ("t = threading.Thread(target=lambda: [note.delay() for _ in range(3)]); t.start()", 3),
        ("import asyncio; asyncio.run(note.adelay())", 1),
        (SUBMIT + FORK.format("note.delay()"), 4),
        (FORK.format("note.delay()") + "note.delay()", 2),
        ("note.delay(); " + CHILD, 2),
        (POOL + CHILD, 1),
        ("note.submit_many(range(30))", 30),
        (OWN_REPO + "repo.create_job('plain')\n" + FORK.format("repo.create_job('plain')"), 2),
    ],
    ids=[
        "ends",
        "exits",
        "thread",
        "loop",
        "fork",
        "fork before the first",
        "multiprocessing",
        "first in a process",
        "many",
        "own repo in a fork",
    ],
)
def test_what_a_program_submitted_is_counted_at_its_end(
    server: FakeAws, tmp_path: Path, program: str, jobs: int
) -> None:
    done = run(server, tmp_path, "-c", BEGINNING + program)
    assert (done.returncode, done.stderr) == (0, "")
    assert server.count("PutItem") == jobs
    assert counted(server) == {"submitted": jobs}


def test_a_program_that_raises_counts_what_it_submitted(server: FakeAws, tmp_path: Path) -> None:
    done = run(server, tmp_path, "-c", BEGINNING + SUBMIT + "raise KeyError('mine')")
    assert done.returncode == 1
    assert counted(server) == {"submitted": 3}


@pytest.mark.parametrize(
    ("away", "submit", "tries"),
    [
        ("silent", SUBMIT, 1),
        ("refusing", SUBMIT, 2),  # libcurl itself asks again where a connection that was open before is cut
        ("silent", OWN_REPO + "repo.create_job('plain')", 1),
    ],
    ids=["silent", "refusing", "own repo"],
)
def test_a_program_ends_soon_and_quietly_where_the_counts_cannot_be_written(
    server: FakeAws, tmp_path: Path, away: str, submit: str, tries: int
) -> None:
    over = threading.Event()

    def answer(operation: str) -> None:
        if operation == "UpdateItem":
            if away == "silent":
                over.wait(100)
            raise ConnectionError

    server.before_answer = answer
    done = run(server, tmp_path, "-c", BEGINNING + submit)  # ends within its timeout, or fails here
    over.set()
    assert (done.returncode, done.stderr) == (0, "")
    assert server.count("UpdateItem") == tries


@pytest.mark.parametrize(("task", "kwargs"), [("note", "--args=[1]"), ("plain", '--kwargs={"number": 1}')])
def test_the_command_line_counts_too(server: FakeAws, tmp_path: Path, task: str, kwargs: str) -> None:
    done = run(server, tmp_path, "-m", "jobclaim", "--app", "shop", "submit", task, kwargs)
    written = [body for operation, body in server.requests if operation == "PutItem"]
    assert [body["Item"]["task"]["S"] for body in written if "task" in body["Item"]] == [task], done.stderr
    assert counted(server) == {"submitted": 1}
