"""`list`, `show` and `queues` ask a bounded number of times, however many jobs there are.

``LARGE_TABLE_JOBS=200000`` runs it at its full size.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.main import command_line
from jobclaim.cli.session import Session
from jobclaim.jobs import JobRepo, JobStatus
from jobclaim.jobs.encoding.item import attribute, to_attributes
from jobclaim.jobs.model import Failure, FailureKind
from jobclaim.jobs.protocol.submission import Submission, new_job
from jobclaim.workers import create_app
from tests.support.endpoints import Endpoint
from tests.support.stack import Stack, deployed

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
JOBS = int(os.environ.get("LARGE_TABLE_JOBS", "4000"))
BATCH = 25
SHARDS = 4


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Stack]:
    with deployed(dynamodb_local, elasticmq, tmp_path, index_shards=SHARDS) as made:
        yield made


def fill(repo: JobRepo, count: int) -> str:
    """Write jobs, half of them waiting and half failed, past the repo's requests; give the id of one."""
    client, now = repo.table.client(), repo.clock()
    asked = Submission(task="shop.charge", payload={"args": [1], "kwargs": {}}, queue="default")
    sample = new_job(asked, repo.settings, repo.clock, any_queue=False)
    failure = Failure(kind=FailureKind.PERMANENT, exception="ValueError", message="declined", at=now)

    def item(number: int) -> dict[str, Any]:
        job = replace(sample, job_id=f"job-{number:07}", created_at=now - number, available_at=now - number)
        if number % 2:
            job = replace(job, status=JobStatus.FAILED, finished_at=now - number, failure=failure, expires_at=2**31)
        stored = to_attributes(job) | repo.table.place(job)
        return {name: attribute(value) for name, value in stored.items()}

    def write(start: int) -> None:
        rows = [{"PutRequest": {"Item": item(n)}} for n in range(start, min(start + BATCH, count))]
        while rows:
            answer = client.batch_write_item(RequestItems={repo.table.name: rows})
            rows = answer.get("UnprocessedItems", {}).get(repo.table.name, [])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(0, count, BATCH)))
    return f"job-{count // 2:07}"


def counted(session: Session, arguments: Sequence[str]) -> tuple[Counter[str], float, str]:
    """Run a command; give its requests to DynamoDB by operation, its seconds and its output."""
    asked: Counter[str] = Counter()
    original = session.repo.table._ask_client

    def count(operation: str, *rest: Any, **named: Any) -> Any:
        asked[operation] += 1
        return original(operation, *rest, **named)

    session.repo.table._ask_client = count  # type: ignore[method-assign]
    begin = time.perf_counter()
    result = CliRunner().invoke(command_line, list(arguments), obj=session)
    seconds = time.perf_counter() - begin
    session.repo.table._ask_client = original  # type: ignore[method-assign]
    assert result.exit_code == ExitCode.OK, result.output
    return asked, seconds, result.stdout


def test_looking_costs_the_same_on_a_large_table(stack: Stack) -> None:
    session = Session(app=create_app(stack.settings))
    some = fill(session.repo, JOBS)
    queues = len(stack.settings.queue_names)
    bounds = {
        ("list", "-s", "FAILED", "-n", "50", "-o", "json"): 3 * SHARDS
        + 1,  # waiting for people, for recovery, and closed
        ("list", "-n", "50", "-o", "json"): 2 * 10 * (queues * SHARDS + 1),
        ("list", "-s", "FAILED", "--task", "rare.*", "-n", "50", "-o", "json"): 10 * (3 * SHARDS + 1),
        ("show", some, "-o", "json"): 1,
        ("queues",): queues * 2 * SHARDS,
    }
    for arguments, most in bounds.items():
        asked, seconds, output = counted(session, arguments)
        print(f"{JOBS} jobs: jobclaim {' '.join(arguments)}: {asked.total()} requests, {seconds:.2f} s")  # noqa: T201
        assert "scan" not in asked
        assert asked.total() <= most, (arguments, asked)
        if arguments[0] == "list" and "--task" not in arguments:
            assert len(json.loads(output)["items"]) >= 50
