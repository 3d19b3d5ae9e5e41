"""What a submission stores, what it counts, and what it does where its id is taken and free again."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from moto import mock_aws

from jobclaim.jobs import JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.failures.dead import seal_policy
from jobclaim.jobs.protocol.lifecycle import SUBMIT_ROUNDS
from jobclaim.jobs.storage.written import Written
from jobclaim.settings import Settings
from tests.simulation.client import ModelClient, model_repo
from tests.support.clock import ManualClock

SETTINGS = Settings(_env_file=None)


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return model_repo(SETTINGS, clock)


def test_a_job_carries_what_its_submission_says(repo: JobRepo, clock: ManualClock) -> None:
    said = {
        "payload": {"n": 1},
        "queue": "recovery",
        "idempotency_key": "k",
        "ttl": 60.0,
        "fingerprint": "f",
        "available_at": clock() + 5_000,
        "max_attempts": 7,
        "on_orphan": "retry",
        "start_by": clock() + 9_000,
        "envelope": "{}",
        "failure_policy": seal_policy({}, critical=True),
        "tags": ("customer:42",),
    }
    job = repo.create_job("t", hard_limit=50, **said)  # type: ignore[arg-type]

    assert repo.get_job(job.job_id) == job
    assert (job.created_at, job.dispatched_at) == (clock(), clock())
    names = {"ttl": "idempotency_ttl"}
    assert {name: getattr(job, names.get(name, name)) for name in said} == said
    assert job.lease_ms == (50 + SETTINGS.lease_grace_seconds) * 1000


def test_submissions_and_those_that_found_an_equal_job_are_counted(
    repo: JobRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(repo.counts, "count", counted.append)

    for _ in range(3):
        repo.create_job("t", idempotency_key="k")

    assert counted == ["submitted", "submitted", "duplicates", "submitted", "duplicates"]


def test_who_submits_a_payload_that_goes_to_s3_gets_it_back_as_it_was_given(clock: ManualClock) -> None:
    settings = Settings(_env_file=None, bucket="large", max_payload_bytes=1_000)
    payload = "x" * 1_001
    client = ModelClient(clock)
    client.make_tables(settings.job_table, settings.fleet_table)
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="large")
        repo = JobRepo(client, settings=settings, clock=clock)
        job = repo.create_job("t", payload, job_id="j")

        assert job.payload == payload
        assert repo.get_job("j", large=False).payload != payload


def test_a_submission_without_a_key_answers_no_other_and_each_run_has_a_name_of_its_own(repo: JobRepo) -> None:
    one, other = repo.create_job("t"), repo.create_job("t")

    assert (one.idempotency_key, one.idempotency_ttl, one.fingerprint) == ("", 0, "")
    assert one.submission
    assert one.submission != other.submission


# --- an id that is taken
def refused(repo: JobRepo, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let puts of the repo be refused by a job that is no longer there when it is looked at."""
    apply, left = repo.table.apply, iter(range(times))

    def tried(*what: Any, **how: Any) -> Written:
        if next(left, None) is not None:
            return Written(False)
        return apply(*what, **how)

    monkeypatch.setattr(repo.table, "apply", tried)


def test_a_job_whose_id_was_taken_by_one_that_is_gone_is_put_again(
    repo: JobRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(repo, monkeypatch, SUBMIT_ROUNDS - 1)

    job = repo.create_job("t", job_id="j")
    assert (job.created, repo.get_job("j").status) == (True, JobStatus.PENDING)


def test_a_job_whose_id_is_taken_by_ever_another_is_given_up(repo: JobRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(repo, monkeypatch, SUBMIT_ROUNDS)

    with pytest.raises(StoreUnavailable, match="changed 5 times"):
        repo.create_job("t", job_id="j")
