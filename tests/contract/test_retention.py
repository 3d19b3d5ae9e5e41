"""A result is kept as long as it answers equal submissions, and nothing that is open may be deleted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.idempotency import store_result
from jobclaim.jobs.repo import rescue
from jobclaim.recovery.dead import retry
from tests.contract.stores import Store, contract_settings

DAY = 86_400
WINDOW = 30 * DAY


def _completed(store: Store) -> Job:
    return store.completed("kept", idempotency_key="k", ttl=WINDOW)


def _given_at_the_end(store: Store) -> Job:
    owner, claim = store.claimed(idempotency_key="k")
    return owner.update_status(claim.job_id, "COMPLETED", result="kept", ttl=WINDOW)


def _stored(store: Store) -> Job:
    return store_result(store.repo(), "tasks.work", "k", "kept", ttl_seconds=WINDOW)


def _stored_over_a_failure(store: Store) -> Job:
    store.failed(idempotency_key="k")
    return _stored(store)


@pytest.mark.parametrize("made", [_completed, _given_at_the_end, _stored, _stored_over_a_failure])
def test_a_window_that_is_longer_than_the_retention_keeps_the_result(
    store: Store, made: Callable[[Store], Job]
) -> None:
    assert store.settings.completed_retention_days == contract_settings().completed_retention_days == 7
    done = made(store)
    item = store.item(done.job_id)
    assert item is not None
    assert int(item["expires_at"]["N"]) * 1000 >= done.finished_at + WINDOW * 1000

    store.clock.advance(WINDOW - 1)
    again = store_result(store.repo(), "tasks.work", "k", "another")
    assert (again.created, again.job_id, again.result) == (False, done.job_id, "kept")

    store.clock.advance(2)
    assert store_result(store.repo(), "tasks.work", "k", "another").created


def test_a_window_that_is_shorter_than_the_retention_shortens_nothing(store: Store) -> None:
    done = store.completed("kept", idempotency_key="k", ttl=1)

    assert done.expires_at * 1000 >= done.finished_at + 7 * DAY * 1000


OPENED: dict[str, Callable[[Store, Job], Job | None]] = {
    "a person's retry": lambda store, failed: store.repo().retry_job(failed.job_id),
    "a dead letter's retry": lambda store, failed: retry(store.repo(), failed, by="ann"),
    "a retry by its rule": lambda store, failed: rescue.revive(store.repo(), failed),
    "an equal submission": lambda store, failed: store.pending(idempotency_key="k"),
}


@pytest.mark.parametrize("opened", OPENED)
def test_a_job_that_is_opened_again_loses_its_expiry(store: Store, opened: str) -> None:
    failed = store.repo().get_job(store.failed(idempotency_key="k").job_id)
    before = store.item(failed.job_id)
    assert before is not None
    assert "expires_at" in before

    again = OPENED[opened](store, failed)

    assert again is not None
    assert again.status is JobStatus.PENDING
    item = store.item(failed.job_id)
    assert item is not None
    assert "expires_at" not in item
