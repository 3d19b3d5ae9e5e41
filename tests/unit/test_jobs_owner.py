"""What the owner of a claim writes at its end, what is forgotten then, and what its delivery is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from jobclaim.jobs import (
    ClaimLost,
    FailureKind,
    InvalidInput,
    JobRepo,
    JobStatus,
    NotClaimed,
)
from jobclaim.jobs.storage.resilience import TRIES
from tests.contract.stores import LossyClient, entry
from tests.support.clock import ManualClock
from tests.support.one_job import LARGE, SETTINGS, claimed, lost, one_job
from tests.support.recovery import failing
from tests.support.watched import Watched, watching


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return one_job(clock)


@pytest.fixture
def watched(repo: JobRepo) -> Iterator[Watched]:
    with watching() as where:
        yield where


# --- whose end it is
def test_without_a_token_the_delivery_says_which_claim_is_meant_and_with_one_it_is_not_asked(
    repo: JobRepo, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(repo)
    monkeypatch.setattr(watched, "claim_of", lambda *_: None)

    with pytest.raises(NotClaimed):
        repo.update_status("j", "COMPLETED")
    assert repo.update_status("j", "COMPLETED", token=claim.claim_token).status is JobStatus.COMPLETED


def test_a_token_passed_to_another_process_ends_the_attempt_without_a_read_of_its_payload(
    repo: JobRepo, clock: ManualClock
) -> None:
    repo.create_job("t", LARGE, job_id="large")
    claim = repo.claim_job("large")
    assert claim is not None
    read: list[str] = []

    def note(asked: Any) -> bool:
        read.append(asked["Key"]["job_id"]["S"])
        return False

    line = failing(repo.table.client(), "get_item", note)
    other = JobRepo(line, settings=SETTINGS, clock=clock)

    assert other.update_status("large", "COMPLETED", result=1, token=claim.claim_token).result == 1
    assert read == ["large"]
    with pytest.raises(ClaimLost, match="it is COMPLETED in attempt 1"):
        other.update_status("large", "COMPLETED", result=1, token=claim.claim_token)


def test_a_claim_is_held_until_its_end_and_not_by_who_holds_a_later_one(repo: JobRepo) -> None:
    first = claimed(repo)
    assert repo.holds(first)
    repo.release("j")
    assert not repo.holds(first)
    second = claimed(repo)
    assert [repo.holds(first), repo.holds(second)] == [False, True]


def test_the_owner_of_a_job_that_is_gone_is_told_so(repo: JobRepo) -> None:
    claimed(repo)
    repo.table.client().delete_item(TableName=SETTINGS.job_table, Key={"job_id": {"S": "j"}})

    with pytest.raises(ClaimLost, match="it no longer exists"):
        repo.update_status("j", "COMPLETED")


def test_a_token_names_its_own_claim_whatever_the_repo_holds(repo: JobRepo) -> None:
    first = claimed(repo)
    repo.reschedule("j")
    second = claimed(repo)

    with pytest.raises(ClaimLost):
        repo.update_status("j", "COMPLETED", token=first.claim_token)
    assert repo.get_job("j").status is JobStatus.PROCESSING
    assert repo.update_status("j", "COMPLETED", token=second.claim_token).status is JobStatus.COMPLETED


@pytest.mark.parametrize("how", ["ended", "lost"])
def test_nothing_of_a_claim_is_kept_when_it_is_over(repo: JobRepo, clock: ManualClock, how: str) -> None:
    token = claimed(repo).claim_token if how == "ended" else lost(repo, clock).claim_token
    repo.running("j").reports.tell(1, 2, "half", ..., clock())
    if how == "ended":
        repo.update_status("j", "COMPLETED")
    else:
        with pytest.raises(ClaimLost):
            repo.update_status("j", "COMPLETED")

    assert (repo._claims.get("j"), repo._runs.get(token)) == (None, None)


# --- what it says of the end
def test_a_retry_without_a_cause_stores_none(repo: JobRepo) -> None:
    claimed(repo)

    assert repo.reschedule("j").failure is None


def test_a_job_beside_a_completion_is_created_with_it_and_not_with_another_end(repo: JobRepo) -> None:
    claimed(repo)
    beside = replace(repo.get_job("j"), job_id="next", status=JobStatus.PENDING, claim_token="", attempt=0)
    with pytest.raises(InvalidInput, match="effects are made with COMPLETED only"):
        repo.update_status("j", "FAILED", effects=[entry()])

    repo.update_status("j", "COMPLETED", beside=[beside])

    assert repo.get_job("next").status is JobStatus.PENDING


def test_a_failure_is_the_exception_that_is_being_handled_and_a_cancellation_is_none(repo: JobRepo) -> None:
    ends = {}
    for status in ("FAILED", "CANCELLED"):
        repo.create_job("t", job_id=status)
        assert repo.claim_job(status) is not None
        try:
            raise ValueError("broken")
        except ValueError:
            ends[status] = repo.update_status(status, status).failure

    failed, cancelled = ends["FAILED"], ends["CANCELLED"]
    assert failed is not None
    assert (failed.exception, failed.message) == ("ValueError", "broken")
    assert cancelled is not None
    assert (cancelled.kind, cancelled.exception) == (FailureKind.CANCELLED, "")


def test_an_end_is_written_for_as_long_as_the_claim_lasts(repo: JobRepo, clock: ManualClock) -> None:
    line = LossyClient(repo.table.client(), arrives=False, times=0)
    owner = JobRepo(line, settings=SETTINGS, clock=clock, sleep=clock.advance)
    assert owner.claim_job("j") is not None
    line.lose_after(0, times=TRIES + 1, arrives=False)

    assert owner.update_status("j", "COMPLETED").status is JobStatus.COMPLETED


def test_a_new_payload_that_needs_an_item_of_its_own_is_written_for_as_long_as_the_claim_lasts(
    repo: JobRepo, clock: ManualClock
) -> None:
    line = LossyClient(repo.table.client(), arrives=False, times=0)
    owner = JobRepo(line, settings=SETTINGS, clock=clock, sleep=clock.advance)
    assert owner.claim_job("j") is not None
    line.lose_after(0, times=TRIES + 1, arrives=False)

    owner.reschedule("j", payload=LARGE)

    assert (claimed(repo).payload, line.writes) == (LARGE, 1 + TRIES + 3)
