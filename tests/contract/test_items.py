"""What the store makes of large and of foreign items."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobclaim.jobs import JobStatus
from jobclaim.jobs.encoding.item import attribute, place, to_attributes
from jobclaim.jobs.transitions import Move
from jobclaim.settings import ITEM_BUDGET
from tests.contract.stores import Store
from tests.unit.jobs_strategies import fullest_job, longest_failure

CHARACTERS = ["x", '"', "\u6f22", "\U0001f980"]


@pytest.mark.real
@pytest.mark.parametrize("character", CHARACTERS)
@pytest.mark.parametrize("end", ["COMPLETED", "FAILED", "reschedule"])
def test_the_fullest_job_there_can_be_can_still_be_ended(atomic_store: Store, character: str, end: str) -> None:
    """Every text as long as it may be, ten attempts with the longest failures, payload and result at their limits.

    Not on moto, which counts the old and the new value of an attribute, and sets the limit lower than AWS.
    """
    store = atomic_store
    result_bytes = ITEM_BUDGET // 2 if end == "COMPLETED" else 1
    settings = store.settings.model_copy(
        update={
            "max_payload_bytes": ITEM_BUDGET - result_bytes,
            "max_result_bytes": result_bytes,
            "index_completed": True,
        }
    )
    repo = store.repo(settings=settings)
    now = store.clock()
    job = replace(
        fullest_job(character, settings.max_payload_bytes),
        lease_expires_at=now + 60_000,
        lease_ms=60_000,
        available_at=now,
        claimed_at=now,
    )
    assert repo.table.apply(None, Move.SUBMIT, job).applied

    arguments: dict[str, Any] = {"token": job.claim_token}
    if end == "COMPLETED":
        ended = repo.update_status(job.job_id, end, result="y" * (result_bytes - 2), **arguments)
    elif end == "FAILED":
        ended = repo.update_status(job.job_id, end, error=longest_failure(character), **arguments)
    else:
        ended = repo.reschedule(job.job_id, error=longest_failure(character), **arguments)

    assert repo.get_job(job.job_id) == ended
    assert ended.status is not JobStatus.PROCESSING


@pytest.mark.parametrize("character", CHARACTERS)
def test_a_job_with_the_largest_arguments_and_names_can_be_submitted_and_claimed(store: Store, character: str) -> None:
    repo = store.repo()
    job = repo.create_job(
        character * 255,
        "x" * (store.settings.max_payload_bytes - 2),
        idempotency_key=character * 1024,
        envelope="e" * 16_384,
    )

    claim = repo.claim_job(job.job_id, celery_task_id=character * 255, worker_id=character * 255)

    assert claim is not None
    assert claim.payload == job.payload


@pytest.mark.parametrize("payload", [(), [], {}, "", 0, False, -0.0, 1e300, 10**40, "\0", "\u2028🦀", [[[]]], None])
def test_a_payload_and_a_result_come_back_exactly(store: Store, payload: Any) -> None:
    done = store.completed(payload)
    sent = store.repo().create_job("tasks.work", payload)

    assert repr(store.repo().get_job(done.job_id).result) == repr(list(payload) if payload == () else payload)
    assert repr(store.repo().get_job(sent.job_id).payload) == repr(list(payload) if payload == () else payload)


def test_attributes_that_another_version_added_are_tolerated_and_left_alone(store: Store) -> None:
    job = store.pending()
    stored = to_attributes(job) | place(job, shards=store.settings.index_shards, index_completed=False)
    foreign: dict[str, Any] = {
        "priority": {"N": "5"},
        "labels": {"SS": ["a", "b"]},
        "trace": {"M": {"span": {"B": b"\x01"}}},
        "nothing": {"NULL": True},
        "flag": {"BOOL": True},
        "list": {"L": []},
    }
    item = {name: attribute(value) for name, value in stored.items()}
    store.client.put_item(TableName=store.settings.job_table, Item={**item, **foreign})
    owner = store.repo()

    assert owner.get_job(job.job_id) == job
    assert owner.list_jobs("PENDING").jobs == (job,)
    assert owner.claim_job(job.job_id) is not None
    assert store.repo().claim_job(job.job_id) is None, "the refused write's answer holds them too"
    owner.update_status(job.job_id, "COMPLETED")

    after = store.item(job.job_id)
    assert after is not None
    assert {name: after[name] for name in foreign} == foreign
