"""A body at work: what it may still ask for when its attempt is over, and what its waits cost and leave behind."""

from __future__ import annotations

from collections.abc import Callable

import boto3
import pytest
from moto import mock_aws
from structlog.testing import capture_logs

from jobclaim.jobs import ClaimLost, InvalidInput, InvalidPayload, JobNotFound, JobRepo, JobStatus, PayloadTooLarge
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.errors import WaitTimeout
from jobclaim.jobs.kept import MAX_WAITS
from jobclaim.jobs.repo import room
from jobclaim.jobs.repo.running import Running, wait_name
from jobclaim.settings import Settings
from tests.contract.stores import LossyClient
from tests.simulation.client import ModelClient, model_repo
from tests.support.clock import ManualClock

SETTINGS = Settings(_env_file=None)


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    made = model_repo(SETTINGS, clock)
    made.create_job("t", job_id="j")
    assert made.claim_job("j") is not None
    return made


@pytest.fixture
def counted(repo: JobRepo, clock: ManualClock) -> tuple[JobRepo, LossyClient]:
    """The repo of a body whose writes are counted."""
    line = LossyClient(repo.table.client(), times=0)
    owner = JobRepo(line, settings=SETTINGS, clock=clock)
    repo.release("j")
    assert owner.claim_job("j") is not None
    line.writes = 0
    return owner, line


@pytest.mark.parametrize(
    "asks",
    [
        lambda body: body.progress(1, 2),
        lambda body: body.update_state("HALF", {}),
        lambda body: body.wait("b"),
        lambda body: body.wait_token("b"),
        lambda body: body.wake_at(1),
    ],
)
def test_a_body_whose_attempt_is_over_is_told_why_without_a_request(
    counted: tuple[JobRepo, LossyClient], asks: Callable[[Running], object]
) -> None:
    owner, line = counted
    body = owner.running("j")
    assert body.wait("a") is None
    line.writes = 0

    with pytest.raises(ClaimLost, match="the job waits for 'a'"):
        asks(body)
    assert line.writes == 0


def test_what_a_body_reports_is_checked_where_it_is_reported(repo: JobRepo) -> None:
    body = repo.running("j")
    body.update_state("BEGUN", {})  # the next report is not written at once

    with pytest.raises(PayloadTooLarge, match="for its steps, waits and checkpoint together"):
        body.update_state("HALF", "x" * 500_000)
    with pytest.raises(InvalidInput, match="seconds"):
        body.sleep(-1)


# --- waits
def test_a_wait_times_out_by_one_write_and_stays_so(counted: tuple[JobRepo, LossyClient], clock: ManualClock) -> None:
    owner, line = counted
    assert owner.running("j").wait("a", timeout=10) is None
    clock.advance(11)
    assert owner.claim_job("j") is not None
    line.writes = 0

    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(WaitTimeout, match="'a' before its deadline"):
                owner.running("j").wait("a", timeout=10)

    assert (line.writes, [entry["event"] for entry in logs]) == (1, ["wait.timed_out"])


def test_a_token_is_announced_once_and_for_each_name(counted: tuple[JobRepo, LossyClient], repo: JobRepo) -> None:
    owner, line = counted
    body = owner.running("j")
    assert body.wait_token("a") == body.wait_token("a")
    assert line.writes == 1

    repo.resume("j", "b", 1)
    body.wait_token("b")

    waits = {wait.name: wait.announced for wait in repo.get_job("j").waits}
    assert waits == {"a": True, "b": True}


def test_a_name_needs_room_in_its_job(repo: JobRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise PayloadTooLarge("the job is full")

    monkeypatch.setattr(room, "fitting", full)

    with pytest.raises(PayloadTooLarge):
        repo.running("j").wait_token("a")


def test_a_name_is_given_back_as_it_is() -> None:
    assert wait_name("approval") == "approval"


# --- resumes
def test_a_job_is_resumed_under_so_many_names(repo: JobRepo) -> None:
    for n in range(MAX_WAITS):
        repo.resume("j", f"n{n}")

    with pytest.raises(InvalidInput, match="use fewer names"):
        repo.resume("j", "another")


def test_a_job_past_its_retention_is_none(repo: JobRepo, clock: ManualClock) -> None:
    clock.advance(max(0, repo.update_status("j", "COMPLETED").expires_at - clock() / 1000))
    assert repo.table.get("j") is not None, "DynamoDB has not come to it"

    with pytest.raises(JobNotFound):
        repo.resume("j", "a")


def test_a_payload_that_looks_like_a_mark_is_refused_before_anything_is_read(repo: JobRepo) -> None:
    with pytest.raises(InvalidPayload, match="payload is a map whose only key"):
        repo.resume("nothing", "a", {LARGE_MARK: {"key": "x", "bytes": 1}})


def test_a_large_payload_of_a_resume_goes_to_s3_where_there_is_a_bucket(clock: ManualClock) -> None:
    settings = Settings(_env_file=None, bucket="large", max_payload_bytes=1_000)
    client = ModelClient(clock)
    client.make_tables(settings.job_table, settings.fleet_table)
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="large")
        repo = JobRepo(client, settings=settings, clock=clock)
        repo.create_job("t", job_id="j")
        assert repo.claim_job("j") is not None
        repo.resume("j", "a", "x" * 1_001)

        assert repo.running("j").wait_for("a") == "x" * 1_001
        assert repo.get_job("j", large=False).status is JobStatus.PROCESSING
