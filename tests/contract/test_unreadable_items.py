"""One item that this version does not understand, after a rollback or by hand, hides nothing but itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobclaim.jobs import InvalidPayload, Job, JobUnreadable
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.idempotency import store_result
from jobclaim.recovery import sweep
from jobclaim.recovery.dead import DeadLetters, Filter
from jobclaim.views.job_filter import JobFilter, filtered_page
from tests.contract.stores import Store

BAD: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a status of a newer version": lambda item: item | {"status": {"S": "WAITING_FOR_APPROVAL"}},
    "a failure that is not JSON": lambda item: item | {"failure": {"S": "{"}},
    "a number that is text": lambda item: item | {"attempt": {"S": "many"}},
    "a value of two types": lambda item: item | {"worker_id": {"M": {"a": {"S": "b"}}}, "history": {"S": "[1]"}},
    "a history of numbers": lambda item: item | {"history": {"S": "[1]"}},
    "a failure's message that is a number": lambda item: item | {"failure": {"S": '{"kind":"PERMANENT","message":5}'}},
    "progress in words": lambda item: item | {"progress": {"S": '{"done":"half"}'}},
    "a step's time in words": lambda item: item | {"steps": {"S": '[{"n":"a","f":"g","h":"0","t":"noon"}]'}},
    "a decision's time in words": lambda item: item | {"decisions": {"S": '[{"verb":"retry","by":"a","at":"noon"}]'}},
    "a time before 1970": lambda item: item | {"created_at": {"N": "-99999999999999999"}},
    "a time after the year 9999": lambda item: item | {"claimed_at": {"N": "99999999999999999"}},
    "no task": lambda item: {name: value for name, value in item.items() if name != "task"},
}


def spoiled(store: Store, job_id: str, how: str) -> str:
    """Spoil a job's item, as it lies in the table and its index."""
    item = store.item(job_id)
    assert item is not None
    store.client.put_item(TableName=store.settings.job_table, Item=BAD[how](item))
    return job_id


@pytest.mark.parametrize("how", BAD)
@pytest.mark.parametrize("state", ["PENDING", "PROCESSING", "FAILED"])
def test_a_list_shows_the_others_and_names_it(store: Store, how: str, state: str) -> None:
    ways: dict[str, Callable[[], Job]] = {
        "PENDING": store.pending,
        "PROCESSING": lambda: store.claimed()[1],
        "FAILED": store.failed,
    }
    make = ways[state]
    before, bad, after = make().job_id, spoiled(store, make().job_id, how), make().job_id
    repo, everything = store.repo(), JobFilter.of(task="tasks.*", kind=None, worker_id=None, since_ms=None)

    page = repo.list_jobs(state)
    filtered = filtered_page(repo, state, everything, now=store.clock(), queue=None, limit=10, cursor=None)

    for found in (page, filtered):
        assert {job.job_id for job in found.jobs} == {before, after}
        assert found.unreadable == (bad,)
    assert set(repo.table.get_many([before, bad, after])) == {before, after}


@pytest.mark.parametrize("how", BAD)
def test_whoever_asks_for_it_alone_is_told_what_is_wrong(store: Store, how: str) -> None:
    bad = spoiled(store, store.failed().job_id, how)
    repo = store.repo()

    for call in (repo.get_job, repo.retry_job, repo.cancel_job, repo.claim_job):
        with pytest.raises(JobUnreadable, match=f"{bad}.*does not understand its attribute") as told:
            call(bad)
        assert told.value.job_id == bad


@pytest.mark.parametrize("how", BAD)
def test_dead_letters_can_be_counted_and_acted_on_beside_it(store: Store, how: str) -> None:
    good, bad = store.failed().job_id, spoiled(store, store.failed().job_id, how)
    letters = DeadLetters(store.repo(), send=lambda job, delay: None)

    assert letters.count(Filter()) == 1
    report = letters.act("resolve", [bad, good], by="ann")
    assert (report.done, [job_id for job_id, _ in report.refused]) == (1, [bad])
    assert "does not understand" in report.refused[0][1]


@pytest.mark.parametrize("how", BAD)
def test_recovery_goes_on(store: Store, how: str) -> None:
    bad, orphan = spoiled(store, store.claimed()[1].job_id, how), store.claimed()[1].job_id
    repo, before = store.repo(), store.item(bad)
    store.clock.advance(7200)

    report = sweep(repo, send=lambda job, delay: None, backlog=lambda queue: 0)

    assert (report.orphaned, repo.get_job(orphan).status) == (1, "FAILED")
    assert store.item(bad) == before


@pytest.mark.parametrize("how", ["a failure that is not JSON", "a history of numbers"])
def test_a_claim_of_what_cannot_be_read_is_given_back_uncharged(store: Store, how: str) -> None:
    job_id = store.pending().job_id
    before = store.item(spoiled(store, job_id, how))
    assert before is not None

    with pytest.raises(JobUnreadable):
        store.repo().claim_job(job_id)

    after = store.item(job_id)
    assert after is not None
    assert (after["status"], after["charged"], after["attempt"]) == ({"S": "PENDING"}, {"N": "0"}, {"N": "1"})
    changed = {"status", "charged", "attempt", "dispatched_at"}
    claimed = {"claim_token", "claimed_at", "lease_expires_at"}
    assert {name: after[name] for name in after.keys() - changed - claimed} == {
        name: before[name] for name in before.keys() - changed
    }


# --- what looks like a mark of ours
MARK = {LARGE_MARK: {"key": "x", "bytes": 1}}


@pytest.mark.parametrize("mark", [MARK, {LARGE_MARK: None}, {LARGE_MARK: "text"}])
def test_a_payload_or_result_that_looks_like_what_is_in_s3_is_refused(store: Store, mark: Any) -> None:
    repo, claim = store.claimed()
    before = store.items()

    writes: list[Callable[[], object]] = [
        lambda: repo.create_job("tasks.work", mark),
        lambda: repo.reschedule(claim.job_id, payload=mark),
        lambda: repo.update_status(claim.job_id, "COMPLETED", result=mark),
        lambda: store_result(repo, "tasks.work", "k", mark),
    ]
    for write in writes:
        with pytest.raises(InvalidPayload, match="jobclaim reserves for values that it stores elsewhere"):
            write()

    assert store.items() == before


def test_such_a_map_within_another_is_a_value_like_any(store: Store) -> None:
    job = store.repo().create_job("tasks.work", {"args": [MARK]})

    claim = store.repo().claim_job(job.job_id)
    assert claim is not None
    assert claim.payload == {"args": [MARK]}
