"""A completion that one process plans and another one writes is the completion that `update_status` writes."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobclaim.jobs import ClaimLost, Failure, FailureKind, Job, JobRepo, JobStatus, PayloadTooLarge
from jobclaim.jobs.repo import rescue
from tests.contract.stores import Store, complete_as_planned

ORPHANED = Failure(kind=FailureKind.ORPHANED, message="lease over")
RESULTS: list[Any] = [None, [1], {"ratio": 0.1, "none": None}, "x" * 3_000]


def claimed(store: Store, **options: Any) -> tuple[JobRepo, Job]:
    repo = store.repo()
    job = repo.create_job("tasks.work", {"n": 1}, **options)
    claim = repo.claim_job(job.job_id)
    assert claim is not None
    return repo, claim


def attributes(store: Store, job: Job) -> dict[str, Any]:
    """Everything stored, without what is drawn for each job."""
    drawn = {"job_id", "claim_token", "submission", "state_key", "nonce"}
    return {name: value for name, value in store.items()[job.job_id].items() if name not in drawn}


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("ttl", [None, 60.0])
def test_it_writes_what_update_status_writes(store: Store, result: Any, ttl: float | None) -> None:
    usual, first = claimed(store, tags=["a"])
    planner, second = claimed(store, tags=["a"])
    store.clock.advance(1.5)

    usual.update_status(first.job_id, "COMPLETED", result=result, ttl=ttl)
    planner.write_planned(planner.plan_completion(second.job_id, second.claim_token, result, ttl=ttl))

    assert attributes(store, second) == attributes(store, first)
    assert store.repo().get_job(second.job_id).result == result


def test_it_keeps_the_bodys_last_report(store: Store) -> None:
    repo, claim = claimed(store)
    repo.progress(claim.job_id, 1, 10)
    repo.progress(claim.job_id, 10, 10, "all")

    done = complete_as_planned(repo, claim)

    assert done.progress is not None
    assert (done.progress.done, done.progress.message) == (10, "all")


def test_another_process_writes_it_and_tells_what_the_planner_would_have_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, claim = claimed(store)
    store.clock.advance(2)
    planned = repo.plan_completion(claim.job_id, claim.claim_token, "done")
    assert repo.holds(claim)
    repo.hand_over(planned)
    assert not repo.holds(claim)

    writer, counted = store.repo(), list[Any]()
    monkeypatch.setattr(writer.statistics, "add", counted.append)
    with capture_logs() as lines:
        writer.write_planned(pickle.loads(pickle.dumps(planned._replace(bound={"tenant": 7}))))  # noqa: S301

    assert store.repo().get_job(claim.job_id).status is JobStatus.COMPLETED
    [line] = [line for line in lines if line["event"] == "job.completed"]
    assert line["duration_seconds"] == 2
    assert claim.log_context().items() <= line.items()
    assert counted == [planned.runs]
    assert "c" in {code for _, _, code in planned.runs}


def test_a_second_write_of_it_changes_nothing_and_succeeds(store: Store) -> None:
    repo, claim = claimed(store)
    planned = repo.plan_completion(claim.job_id, claim.claim_token, "done")
    repo.write_planned(planned)
    before = store.items()
    assert not repo.holds(claim)

    store.clock.advance(1)
    store.repo().write_planned(planned)

    assert store.items() == before


@pytest.mark.parametrize("acted", ["orphan_fail", "orphan_retry"])
def test_it_is_fenced(store: Store, acted: str) -> None:
    repo, claim = claimed(store, max_attempts=3)
    planned = repo.plan_completion(claim.job_id, claim.claim_token, "done")
    assert getattr(rescue, acted)(store.repo(), store.repo().get_job(claim.job_id), ORPHANED) is not None
    before = store.items()

    with pytest.raises(ClaimLost, match="drop the outcome"):
        store.repo().write_planned(planned)
    assert store.items() == before


def test_the_completion_of_another_claim_is_not_taken_for_it(store: Store) -> None:
    repo, claim = claimed(store, max_attempts=3)
    planned = repo.plan_completion(claim.job_id, claim.claim_token, "done")
    rescue.orphan_retry(store.repo(), store.repo().get_job(claim.job_id), ORPHANED)
    other = store.repo()
    other.claim_job(claim.job_id)
    other.update_status(claim.job_id, "COMPLETED", result="done")

    with pytest.raises(ClaimLost, match="COMPLETED in attempt 2"):
        repo.write_planned(planned)


def test_where_runs_are_not_counted_it_counts_none(store: Store) -> None:
    store.settings = store.settings.model_copy(update={"statistics": False})
    repo, claim = claimed(store)
    assert repo.plan_completion(claim.job_id, claim.claim_token, "done").runs == {}


def test_a_job_that_is_gone_takes_none(store: Store) -> None:
    repo, claim = claimed(store)
    planned = repo.plan_completion(claim.job_id, claim.claim_token, "done")
    store.client.delete_item(TableName=store.settings.job_table, Key={"job_id": {"S": claim.job_id}})

    with pytest.raises(ClaimLost, match="no longer exists"):
        store.repo().write_planned(planned)
    assert store.items() == {}


def test_a_result_that_cannot_be_stored_is_refused_when_it_is_planned(store: Store) -> None:
    repo, claim = claimed(store)
    before = store.items()

    with pytest.raises(PayloadTooLarge):
        repo.plan_completion(claim.job_id, claim.claim_token, "x" * 500_000)

    assert (store.items(), repo.holds(claim)) == (before, True)
