"""A caller's writes and new jobs are written together, or not at all, over lost answers and against each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobclaim.jobs import AlreadySubmitted, EffectRefused, IdempotencyMismatch, Job, JobRepo, JobStatus
from jobclaim.recovery import sweep
from tests.contract.stores import LEDGER, LossyClient, Store

TASK = "tasks.work"
COUNT = {
    "TableName": LEDGER,
    "Key": {"id": "count"},
    "UpdateExpression": "ADD orders :one",
    "ExpressionAttributeValues": {":one": 1},
}


def submit(repo: JobRepo, *jobs: str, **options: Any) -> list[Job]:
    with repo.transaction() as tx:
        tx.update(**COUNT)
        return [tx.create_job(TASK, {"n": 1}, idempotency_key=key or None, **options) for key in jobs]


def counted(store: Store) -> int:
    return int(store.ledger().get("count", {"orders": {"N": "0"}})["orders"]["N"])


@pytest.mark.parametrize(("times", "minutes"), [(1, 0), (2, 0), (1, 11)])
def test_all_is_written_once_though_answers_get_lost(store: Store, times: int, minutes: int) -> None:
    line = LossyClient(store.line, times=times, meanwhile=lambda: store.clock.advance(60 * minutes))

    jobs = submit(store.repo(line), "", "a", "")

    assert {job.job_id for job in jobs} == set(store.items())
    assert counted(store) == 1
    assert all(store.repo().claim_job(job.job_id, attempt=job.attempt) for job in jobs)


def test_of_many_equal_submissions_at_once_one_is_made(atomic_store: Store) -> None:
    def made(_: int) -> bool:
        try:
            submit(atomic_store.repo(), "order 7")
        except AlreadySubmitted as same:
            return bool(same.jobs[0].created)
        return True

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(made, range(16))).count(True) == 1
    assert counted(atomic_store) == 1


def test_one_duplicate_refuses_the_whole(store: Store) -> None:
    (first,) = submit(store.repo(), "a")

    with pytest.raises(AlreadySubmitted) as same:
        submit(store.repo(), "b", "a", "c")

    assert [job.job_id for job in same.value.jobs] == [first.job_id]
    assert set(store.items()) == {first.job_id}
    assert counted(store) == 1


def test_the_same_key_with_other_arguments_is_a_mismatch(store: Store) -> None:
    submit(store.repo(), "a")

    with pytest.raises(IdempotencyMismatch), store.repo().transaction() as tx:
        tx.create_job(TASK, {"n": 2}, idempotency_key="a")


def test_jobs_that_failed_are_run_anew_together(store: Store) -> None:
    old = [store.failed(idempotency_key=key) for key in ("a", "b")]

    submit(store.repo(), "a", "new", "b")

    assert counted(store) == 1
    again = [store.repo().get_job(job.job_id) for job in old]
    assert {job.status for job in again} == {JobStatus.PENDING}
    assert [job.attempt for job in again] == [1, 1]


def test_a_job_that_nobody_started_in_time_is_run_anew_and_keeps_no_expiry(store: Store) -> None:
    store.pending(idempotency_key="a", start_by=store.clock() + 1)
    store.clock.advance(1)

    (job,) = submit(store.repo(), "a")

    item = store.item(job.job_id)
    assert item is not None
    assert "expires_at" not in item, "DynamoDB would delete it while it waits"
    assert counted(store) == 1


def test_a_condition_of_the_callers_leaves_no_job_behind(store: Store) -> None:
    tx = store.repo().transaction()
    tx.check(TableName=LEDGER, Key={"id": "none"}, ConditionExpression="attribute_exists(id)")
    tx.create_job(TASK)

    with pytest.raises(EffectRefused):
        tx.commit()

    assert not store.items()


def test_a_job_whose_message_was_never_sent_is_sent_within_seconds(store: Store) -> None:
    (job,) = submit(store.repo(), "")
    (late,) = submit(store.repo(), "", available_at=store.clock() + 20_000)
    plain = store.pending()
    sent: list[str] = []

    for seconds in (4, 4, 15, 5):
        store.clock.advance(seconds)
        sweep(store.repo(), send=lambda job, _: sent.append(job.job_id), backlog=lambda _: 0)
        sent.append(f"after {seconds}")

    assert sent == ["after 4", job.job_id, "after 4", "after 15", late.job_id, "after 5"]
    assert plain.job_id not in sent


def test_nothing_is_asked_for_nothing(store: Store) -> None:
    line = LossyClient(store.line)
    with store.repo(line).transaction():
        pass
    assert line.writes == 0


def test_equal_writes_without_a_job_are_made_each_time(store: Store) -> None:
    """DynamoDB makes nothing of a request whose token it knows: equal calls must not have equal tokens."""
    for _ in range(3):
        with store.repo(LossyClient(store.line)).transaction() as tx:
            tx.update(**COUNT)

    assert counted(store) == 3
