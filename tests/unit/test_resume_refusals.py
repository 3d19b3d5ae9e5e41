"""Resumes and waits that cannot be: each is refused with its reason, and nothing is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import pytest

from jobclaim.jobs import (
    IllegalTransition,
    InvalidInput,
    InvalidPayload,
    JobNotFound,
    JobRepo,
    JobStatus,
    PayloadTooLarge,
)
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.storage.written import Written
from jobclaim.settings import Settings
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    made = model_repo(Settings(_env_file=None, max_payload_bytes=1_000), clock)
    made.create_job("t", job_id="j")
    assert made.claim_job("j") is not None
    return made


@pytest.mark.parametrize(
    ("payload", "error"),
    [({LARGE_MARK: {"key": "k", "bytes": 1}}, InvalidPayload), ("x" * 1_001, PayloadTooLarge)],
)
def test_a_payload_that_cannot_be_stored_is_refused(repo: JobRepo, payload: Any, error: type[Exception]) -> None:
    repo.wait_for("j", "approval")
    before = repo.get_job("j")

    with pytest.raises(error):
        repo.resume("j", "approval", payload)
    assert repo.get_job("j") == before


def test_a_job_that_is_deleted_under_a_resume_is_not_found(repo: JobRepo) -> None:
    repo.wait_for("j", "approval")

    with patch.object(repo.table, "apply", return_value=Written(False, None)), pytest.raises(JobNotFound):
        repo.resume("j", "approval")


def test_a_job_that_changes_all_the_time_is_not_resumed_for_ever(repo: JobRepo) -> None:
    repo.wait_for("j", "approval")
    refused = Written(False, repo.get_job("j"))

    with (
        patch.object(repo.table, "apply", return_value=refused) as apply,
        pytest.raises(IllegalTransition, match=r"job 'j' changed \d+ times while it was resumed"),
    ):
        repo.resume("j", "approval")
    assert 1 < apply.call_count < 10


def test_a_wait_in_a_thread_of_the_body_is_refused_and_the_claim_goes_on(repo: JobRepo) -> None:
    running = repo.running("j")

    with ThreadPoolExecutor(1) as pool, pytest.raises(InvalidInput, match="in a thread of the body"):
        pool.submit(running.wait, "approval").result()

    assert repo.get_job("j").status is JobStatus.PROCESSING
    assert repo.update_status("j", "COMPLETED").status is JobStatus.COMPLETED


def test_sleeps_are_named_by_their_number_or_as_they_are_told(repo: JobRepo, clock: ManualClock) -> None:
    running = repo.running("j")

    assert running.wake_at(clock() - 1)
    assert running.wake_at(clock() - 1)
    assert not running.wake_at(clock() + 1_000, name="nap")

    assert repo.get_job("j").waits_for == "sleep/nap"
