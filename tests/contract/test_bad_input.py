"""Bad input gets an error of its own kind, and nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobclaim.jobs import (
    Failure,
    FailureKind,
    IllegalTransition,
    InvalidInput,
    InvalidPayload,
    JobError,
    JobNotFound,
    JobRepo,
    PayloadTooLarge,
)
from tests.contract.stores import Store

LONG, SURROGATE = "x" * 256, "a\ud800b"
NO_TEXT: list[Any] = [5, 1.5, True, b"id", ["id"], {"id": 1}]
NO_NAME: list[Any] = [*NO_TEXT, None, "", "  ", LONG, SURROGATE, "a\0b", "a\nb"]

ALIEN: list[Any] = [object(), timedelta(1), {"a": [{"b": {1}}]}]

POLICIES = ["{", "[]", "5", '"x"', '{"NONSENSE":{}}', '{"TRANSIENT":5}', '{"TRANSIENT":{"retries":-1}}', "x" * 2049]

SUBMISSIONS: list[tuple[dict[str, Any], type[JobError]]] = [
    *(({"task": bad}, InvalidInput) for bad in NO_NAME),
    *(({"job_id": bad}, InvalidInput) for bad in NO_NAME if bad is not None),
    *(({"queue": bad}, InvalidInput) for bad in [*NO_TEXT, "", "x" * 81, "unknown", "a#b", "default "]),
    *(({"idempotency_key": bad}, InvalidInput) for bad in [*NO_TEXT, "", " ", "x" * 1025, SURROGATE]),
    *(({"fingerprint": bad, "idempotency_key": "k"}, InvalidInput) for bad in [*NO_TEXT, "x" * 65, SURROGATE]),
    *(({"ttl": bad, "idempotency_key": "k"}, InvalidInput) for bad in [0, -1, "1", True, math.nan, math.inf, 1e300]),
    ({"ttl": 5}, InvalidInput),
    ({"job_id": "j", "idempotency_key": "k"}, InvalidInput),
    *(({"payload": bad}, InvalidPayload) for bad in [{1}, {(1,): 1}, {"a": {1, 2}}, SURROGATE]),
    *(({"payload": bad}, InvalidPayload) for bad in ALIEN),
    ({"payload": "x" * 200_000}, PayloadTooLarge),
    ({"payload": "é" * 100_000}, PayloadTooLarge),
    *(({"available_at": bad}, InvalidInput) for bad in [-1, 1.5, True, "now", datetime(2030, 1, 1), 10**18]),  # noqa: DTZ001
    ({"available_at": datetime.now(UTC) + timedelta(days=500)}, InvalidInput),
    *(({"start_by": bad}, InvalidInput) for bad in [-1, 1.5, True, "now", 10**18]),
    *(({"max_attempts": bad}, InvalidInput) for bad in [0, -1, 1.0, True, "3", 10**40]),
    *(({"hard_limit": bad}, InvalidInput) for bad in [0, -1, 1.5, True, "30", 43_201, 10**40]),
    *(({"on_orphan": bad}, InvalidInput) for bad in ["", "RETRY", True, 1, [], "ignore"]),
    *(({"envelope": bad}, InvalidInput) for bad in NO_TEXT),
    ({"envelope": "x" * 216_385}, PayloadTooLarge),
    *(({"failure_policy": bad}, InvalidInput) for bad in [*NO_TEXT, *POLICIES]),
]

Call = Callable[[JobRepo, Any], object]
BAD_CALLS: dict[str, tuple[Call, list[Any], type[JobError]]] = {
    "claim id": (lambda repo, bad: repo.claim_job(bad), NO_NAME, InvalidInput),
    "claim task id": (
        lambda repo, bad: repo.claim_job("waits", celery_task_id=bad),
        [*NO_TEXT, LONG, SURROGATE],
        InvalidInput,
    ),
    "claim worker": (lambda repo, bad: repo.claim_job("waits", worker_id=bad), [*NO_TEXT, LONG], InvalidInput),
    "claim attempt": (
        lambda repo, bad: repo.claim_job("waits", attempt=bad),
        [-1, 0.0, True, False, "0", 10**40],
        InvalidInput,
    ),
    "claim token": (lambda repo, bad: repo.claim_job("waits", token=bad), [*NO_TEXT, "x" * 65], InvalidInput),
    "plain claim state": (
        lambda repo, bad: repo.conditional_update_status_to_processing("waits", "c", bad),
        ["PROCESSING", "FAILED", "pending", "", None, 5, []],
        IllegalTransition,
    ),
    "update id": (lambda repo, bad: repo.update_status(bad, "COMPLETED"), NO_NAME, InvalidInput),
    "update state": (
        lambda repo, bad: repo.update_status("runs", bad),
        ["PENDING", "PROCESSING", "done", "completed", "", None, 5, []],
        IllegalTransition,
    ),
    "update token": (
        lambda repo, bad: repo.update_status("runs", "COMPLETED", token=bad),
        [*NO_TEXT, "", "x" * 65],
        InvalidInput,
    ),
    "result": (
        lambda repo, bad: repo.update_status("runs", "COMPLETED", result=bad),
        [{(1,): 1}, {1, 2}, object(), SURROGATE],
        InvalidPayload,
    ),
    "large result": (
        lambda repo, bad: repo.update_status("runs", "COMPLETED", result=bad),
        ["x" * 100_000, "漢" * 40_000],
        PayloadTooLarge,
    ),
    "result of a failure": (
        lambda repo, bad: repo.update_status("runs", bad, result=1),
        ["FAILED", "CANCELLED"],
        InvalidInput,
    ),
    "error of a success": (
        lambda repo, bad: repo.update_status("runs", "COMPLETED", error=bad),
        ["x", ValueError("x")],
        InvalidInput,
    ),
    "window": (
        lambda repo, bad: repo.update_status("runs", "COMPLETED", ttl=bad),
        [0, -1, "1", math.nan, 1e300],
        InvalidInput,
    ),
    "error": (lambda repo, bad: repo.update_status("runs", "FAILED", error=bad), [5, b"x", ValueError], InvalidInput),
    "kind": (
        lambda repo, bad: repo.update_status("runs", "FAILED", error="x", kind=bad),
        ["NONSENSE", 5],
        InvalidInput,
    ),
    "failure": (
        lambda repo, bad: repo.update_status("runs", "FAILED", error=bad),
        [Failure(kind="NONSENSE", message="x"), Failure(kind=FailureKind.TIMEOUT, message="x", at=-1)],  # type: ignore[arg-type]
        InvalidInput,
    ),
    "retry time": (
        lambda repo, bad: repo.reschedule("runs", available_at=bad),
        [-1, "x", True, 10**18],
        InvalidInput,
    ),
    "retry error": (lambda repo, bad: repo.reschedule("runs", error=bad), [5, b"x"], InvalidInput),
    "retry payload": (lambda repo, bad: repo.reschedule("runs", payload=bad), [{1}, object()], InvalidPayload),
    "retry queue": (lambda repo, bad: repo.reschedule("runs", queue=bad), ["", "unknown", 5], InvalidInput),
    "release time": (lambda repo, bad: repo.release("runs", available_at=bad), [-1, "x", 10**18], InvalidInput),
    "release reason": (lambda repo, bad: repo.release("runs", reason=bad), [5, b"x", ["x"]], InvalidInput),
    "release slot": (lambda repo, bad: repo.release("runs", slot=bad), [-1, 1.5, "x"], InvalidInput),
    "person's retry": (lambda repo, bad: repo.retry_job(bad), NO_NAME, InvalidInput),
    "person's retry time": (lambda repo, bad: repo.retry_job("fell", available_at=bad), [-1, "x"], InvalidInput),
    "cancel": (lambda repo, bad: repo.cancel_job(bad), NO_NAME, InvalidInput),
    "cancel reason": (lambda repo, bad: repo.cancel_job("waits", reason=bad), [5, b"x"], InvalidInput),
    "get": (lambda repo, bad: repo.get_job(bad), NO_NAME, InvalidInput),
    "unknown": (lambda repo, bad: repo.get_job(bad), ["nobody", "WAITS", " waits"], JobNotFound),
    "list state": (lambda repo, bad: repo.list_jobs(bad), ["pending", "", None, 5, []], IllegalTransition),
    "list limit": (
        lambda repo, bad: repo.list_jobs("PENDING", limit=bad),
        [0, -1, 1001, "5", 1.0, True, None],
        InvalidInput,
    ),
    "list queue": (lambda repo, bad: repo.list_jobs("PENDING", queue=bad), [*NO_TEXT, "", SURROGATE], InvalidInput),
}


@pytest.fixture
def busy(store: Store) -> tuple[Store, JobRepo]:
    """A table with a job that waits, one that runs and one that failed; the repo that holds the claim."""
    store.pending(job_id="waits")
    store.failed(job_id="fell")
    owner, _ = store.claimed(job_id="runs")
    return store, owner


def test_a_submission_that_cannot_be_a_job_is_refused_and_nothing_is_written(store: Store) -> None:
    for arguments, error in SUBMISSIONS:
        with pytest.raises(error) as refusal:
            store.repo().create_job(**{"task": "tasks.work", **arguments})
        assert type(refusal.value) is error, arguments
        assert isinstance(refusal.value, ValueError)
    assert store.items() == {}


@pytest.mark.parametrize("call", BAD_CALLS)
def test_a_call_with_bad_input_is_refused_and_nothing_is_written(busy: tuple[Store, JobRepo], call: str) -> None:
    store, owner = busy
    before = store.items()
    make, values, error = BAD_CALLS[call]

    for bad in values:
        with pytest.raises(error) as refusal:
            make(owner, bad)
        assert type(refusal.value) is error, (bad, refusal.value)
    assert store.items() == before
    assert owner.update_status("runs", "COMPLETED").result is None, "the claim is still held after every refusal"


def test_a_repo_without_settings_takes_any_queue_but_none_that_breaks_the_index(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBCLAIM_JOB_TABLE", store.settings.job_table)
    repo = JobRepo(store.client, store.settings.job_table)

    assert repo.create_job("tasks.work", queue="anything").queue == "anything"
    with pytest.raises(InvalidInput, match="separates the parts of an index key"):
        repo.create_job("tasks.work", queue="a#b")
    assert len(store.items()) == 1


def test_a_table_that_does_not_exist_is_named_with_the_remedy(store: Store) -> None:
    repo = store.repo(settings=store.settings.model_copy(update={"job_table": "no-such-table"}))

    for ask in (repo.create_job, repo.get_job, repo.claim_job):
        with pytest.raises(JobError, match=r"ResourceNotFoundException.*jobclaim up"):
            ask("name")
