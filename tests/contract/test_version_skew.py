"""Two releases on one table: items as the first release wrote them, and items that hold what a later one adds.

``tests/fixtures/first_release/items.json`` was written by the code of the commit that it names, on a clock of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobclaim.jobs import IdempotencyService, Job, JobRepo, JobStatus
from jobclaim.jobs.protocol.submission import id_for_key
from jobclaim.recovery import sweep
from jobclaim.recovery.dead import DeadLetters, Filter
from jobclaim.views.records import job_record
from jobclaim.views.timeline import waiting_reason
from tests.contract.conftest import MODEL, REAL, open_store
from tests.contract.stores import Store

WRITTEN = json.loads((Path(__file__).parents[1] / "fixtures" / "first_release" / "items.json").read_text())
ITEMS: dict[str, dict[str, Any]] = {item["job_id"]["S"]: item for item in WRITTEN["items"]}
PAYLOAD = {"args": [7], "kwargs": {"when": "now"}}
UNKNOWN = {
    "approved_by": {"S": "ann"},
    "weights": {"L": [{"N": "1"}]},
    "labels": {"M": {"a": {"S": "b"}}},
    "hot": {"BOOL": True},
    "nothing": {"NULL": True},
}
"""Attributes, and types of them, that this release does not know."""
TIMES = ("available_at", "created_at", "claimed_at", "lease_expires_at", "finished_at", "dispatched_at", "state_at")


def as_it_was(item: dict[str, Any], _: int) -> dict[str, Any]:
    return item


def with_more(item: dict[str, Any], _: int) -> dict[str, Any]:
    """As a release to come may write it: with attributes, and fields within them, that are unknown here."""
    more = item | UNKNOWN
    for name in ("failure", "history"):
        if name in item:
            known = json.loads(item[name]["S"])
            rows = known if isinstance(known, list) else [known]
            added = [{**row, "severity": 3, "advice": {"en": "look"}} for row in rows]
            more[name] = {"S": json.dumps(added if isinstance(known, list) else added[0])}
    return more


def moved(item: dict[str, Any], by: int) -> dict[str, Any]:
    """Move the times of an item: DynamoDB Local really deletes what has expired."""
    times = {name: {"N": str(int(item[name]["N"]) + by)} for name in TIMES if name in item}
    ends = {"expires_at": {"N": str(int(item["expires_at"]["N"]) + by // 1000)}} if "expires_at" in item else {}
    return item | times | ends


@pytest.fixture(params=[MODEL, pytest.param(REAL, marks=pytest.mark.real)])
def empty(request: pytest.FixtureRequest) -> Iterator[Store]:
    with open_store(request.param, request) as opened:
        yield opened


@pytest.fixture(params=[as_it_was, with_more], ids=["first release", "a later one"])
def table(request: pytest.FixtureRequest, empty: Store) -> Store:
    """A table that holds the items of another release."""
    by = empty.clock() - WRITTEN["now"]
    for item in ITEMS.values():
        empty.client.put_item(TableName=empty.settings.job_table, Item=moved(request.param(item, by), by))
    return empty


def claimed(repo: JobRepo, job_id: str) -> Job:
    job = repo.claim_job(job_id)
    assert job is not None
    return job


def _completes(repo: JobRepo, job_id: str) -> Job:
    assert claimed(repo, job_id).payload == PAYLOAD
    return repo.update_status(job_id, "COMPLETED", result=5)


def _fails(repo: JobRepo, job_id: str) -> Job:
    claimed(repo, job_id)
    return repo.update_status(job_id, "FAILED", error=ValueError("no"))


def _is_rescheduled(repo: JobRepo, job_id: str) -> Job:
    claimed(repo, job_id)
    return repo.reschedule(job_id, error=ConnectionError("down"), available_at=repo.clock() + 60_000)


def _is_released(repo: JobRepo, job_id: str) -> Job:
    claimed(repo, job_id)
    return repo.release(job_id, reason="a deploy")


def _is_retried(repo: JobRepo, job_id: str) -> Job:
    return repo.retry_job(job_id, by="ann")


def _is_cancelled(repo: JobRepo, job_id: str) -> Job:
    return repo.cancel_job(job_id)


def _ends_by_its_token(repo: JobRepo, job_id: str) -> Job:
    return repo.update_status(job_id, "COMPLETED", result=5, token=ITEMS[job_id]["claim_token"]["S"])


CALLS: dict[str, tuple[str, Callable[[JobRepo, str], Job], JobStatus]] = {
    "claim and complete": ("pending", _completes, JobStatus.COMPLETED),
    "claim and fail": ("pending", _fails, JobStatus.FAILED),
    "claim and retry": ("retried", _is_rescheduled, JobStatus.PENDING),
    "claim and release": ("released", _is_released, JobStatus.PENDING),
    "complete what the other release claimed": ("processing", _ends_by_its_token, JobStatus.COMPLETED),
    "retry by a person": ("failed", _is_retried, JobStatus.PENDING),
    "cancel": ("pending", _is_cancelled, JobStatus.CANCELLED),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_takes_a_job_of_the_other_release(table: Store, call: str) -> None:
    job_id, act, expected = CALLS[call]
    before = table.item(job_id)
    assert before is not None

    assert act(table.repo(), job_id).status is expected

    after = table.item(job_id)
    assert after is not None
    assert after["status"] == {"S": str(expected)}
    assert {name: after.get(name) for name in UNKNOWN if name in before} == {
        name: value for name, value in UNKNOWN.items() if name in before
    }, "what is not known is left where it is"


@pytest.mark.parametrize("job_id", ITEMS)
def test_every_job_is_read_as_it_was_written(table: Store, job_id: str) -> None:
    job, item = table.repo().get_job(job_id), ITEMS[job_id]
    assert (str(job.status), job.task, job.attempt) == (item["status"]["S"], "tasks.work", int(item["attempt"]["N"]))
    assert job.payload == json.loads(item["payload"]["S"])
    assert bool(job.failure) == ("failure" in item)
    assert len(job.history) == len(json.loads(item.get("history", {"S": "[]"})["S"]))


def test_a_release_that_an_older_version_wrote_reads_as_a_hold_and_not_as_a_failure(table: Store) -> None:
    repo = table.repo()
    row = job_record(job := repo.get_job("released"))
    assert (row["released"]["held"], row["released"]["reason"], row["failure"]) == (None, "a deploy", None)
    assert (row["history"][0]["released"]["reason"], row["history"][0]["failure"]) == ("a deploy", None)
    assert waiting_reason(job, job.available_at, table.settings).startswith("Released uncharged: a deploy. Due")
    claimed(repo, "released")
    assert job_record(repo.get_job("released"))["failure"] is None
    retried = job_record(repo.get_job("retried"))
    assert (retried["released"], retried["failure"]["message"]) == (None, "down")


def test_lists_dead_letters_and_keys_find_jobs_of_the_other_release(table: Store) -> None:
    repo = table.repo()
    service = IdempotencyService(table.repo(), namespace="tasks.work")
    listed = {status: {job.job_id for job in repo.list_jobs(status).jobs} for status in ("PENDING", "PROCESSING")}
    assert {"pending", "large-inside", "retried", "released", id_for_key("tasks.work", "k1")} <= listed["PENDING"]
    assert listed["PROCESSING"] == {"processing"}
    assert [job.job_id for job in repo.list_jobs("FAILED").jobs] == ["failed"]
    letters = DeadLetters(repo, send=lambda job, delay: None)
    assert (letters.count(Filter()), letters.act("retry", ["failed"], by="ann").done) == (1, 1)
    for key, created in (("k1", False), ("k2", False), ("k3", True)):
        assert repo.create_job("tasks.work", PAYLOAD, idempotency_key=key, ttl=3600).created is created
    found = service.check_duplicate("k2")
    assert found is not None
    assert found.result == 1


def test_recovery_settles_jobs_of_the_other_release(table: Store) -> None:
    table.clock.advance(7200)
    report = sweep(table.repo(), send=lambda job, delay: None, backlog=lambda queue: 0)
    assert (report.failed, report.orphaned) == (0, 1)
    assert report.redispatched >= 4
    assert table.repo().get_job("processing").status is JobStatus.FAILED


def test_what_this_release_writes_has_the_types_that_the_first_one_reads(empty: Store) -> None:
    """The first release passes over what it does not know; what it knows must be as it was."""
    known = {name: next(iter(value)) for item in ITEMS.values() for name, value in item.items()}
    owner = empty.repo()
    for _, act, _ in list(CALLS.values())[:4]:
        job = owner.create_job("tasks.work", PAYLOAD, max_attempts=3)
        act(owner, job.job_id)
    owner.create_job("tasks.work", PAYLOAD, idempotency_key="k", ttl=60)
    for item in empty.items().values():
        assert {name: next(iter(value)) for name, value in item.items() if name in known} == {
            name: known[name] for name in item if name in known
        }
        assert item["status"]["S"] in {written["status"]["S"] for written in ITEMS.values()}
