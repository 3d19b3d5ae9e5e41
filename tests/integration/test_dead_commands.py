"""`jobclaim dead` as a process of its own, killed in the middle and repeated."""

from __future__ import annotations

import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobclaim.jobs import Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.failures.description import bounded
from jobclaim.jobs.model import DeadState
from jobclaim.recovery.dead import DeadLetters, Filter
from tests.support.endpoints import Endpoint
from tests.support.processes import ManagedProcess
from tests.support.recovery import Requests
from tests.support.stack import ROOT, Stack, deployed
from tests.support.waiting import wait_until
from tests.support.warm import WarmProcess

pytestmark = pytest.mark.real

JOBS, GROUPS = 1_400, 7


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Stack]:
    with deployed(dynamodb_local, elasticmq, tmp_path) as made:
        yield made


def load(stack: Stack) -> dict[str, list[str]]:
    """Put dead jobs of seven causes; give their ids by fingerprint."""
    from jobclaim.jobs.encoding.item import attribute, to_attributes

    repo, table, now = stack.repo, stack.settings.job_table, stack.repo.clock()
    groups: dict[str, list[str]] = {}
    requests = []
    for n in range(JOBS):
        cause = f"shop.errors.Cause{n % GROUPS}"
        failure = bounded(Failure(kind=FailureKind.EXTERNAL, message=f"no. {n}", exception=cause, at=now))
        job = Job(
            job_id=f"d{n}",
            task="tests.note",
            queue="default",
            status=JobStatus.FAILED,
            attempt=1,
            payload={"args": [n], "kwargs": {}},
            failure=failure,
            created_at=now,
            finished_at=now - n,
            dead_state=DeadState.WAITING,
        )
        groups.setdefault(failure.fingerprint, []).append(job.job_id)
        stored = to_attributes(job) | repo.table.place(job)
        requests.append({"PutRequest": {"Item": {name: attribute(value) for name, value in stored.items()}}})
    client = repo.table.client()
    for start in range(0, JOBS, 25):
        assert not client.batch_write_item(RequestItems={table: requests[start : start + 25]}).get("UnprocessedItems")
    return groups


def command(stack: Stack, name: str, *arguments: str) -> ManagedProcess:
    argv = [sys.executable, "-m", "jobclaim", "dead", *arguments]
    return WarmProcess(name, argv, log_dir=stack.log_dir, env=stack.environment, cwd=ROOT)


def test_a_command_that_was_killed_is_repeated_and_every_job_is_retried_once(stack: Stack) -> None:
    groups = load(stack)
    letters = DeadLetters(stack.repo)
    with Requests(stack.repo.table.client()) as requests:
        found = letters.groups(Filter())
    assert {group.fingerprint: group.count for group in found} == {mark: len(ids) for mark, ids in groups.items()}
    assert requests.total <= 2 * (JOBS / 100 + 3 * stack.settings.index_shards)

    mark, ids = next(iter(groups.items()))
    until = "2100-01-01T00:00:00Z"
    arguments = ("retry", "--fingerprint", mark, "--failed-before", until, "--yes", "--reason", "back", "--rate")
    with command(stack, "first", *arguments, "20") as first:
        wait_until(lambda: retried(stack, ids) >= 60, 60, "the command is in the middle", poll=0.1)
        first.send(signal.SIGKILL)
        first.wait_for_exit(30)
    after_kill = retried(stack, ids)
    assert 60 <= after_kill < len(ids)
    with command(stack, "second", *arguments, "100") as second:
        assert second.wait_for_exit(90) == 0, second.log()
        rest = len(ids) - after_kill
        assert re.search(rf'"matched":{rest},"done":{rest}', second.log())
    jobs = stack.repo.table.get_many(ids)
    assert Counter(job.status for job in jobs.values()) == {JobStatus.PENDING: len(ids)}
    assert {len(job.decisions) for job in jobs.values()} == {1}
    assert {job.decisions[0].why for job in jobs.values()} == {"back"}
    assert letters.count(Filter()) == JOBS - len(ids)


def retried(stack: Stack, ids: list[str]) -> int:
    return sum(job.status is JobStatus.PENDING for job in stack.repo.table.get_many(ids).values())
