"""Payloads and results beyond what an item has room for: refused, or in S3 and read back as if nothing were."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from celery import chain, chord, group, shared_task
from celery.exceptions import ChordError
from kombu.exceptions import EncodeError
from moto import mock_aws

from jobclaim.jobs import FailureKind, Job, JobRepo, JobStatus, OffloadLost, PayloadTooLarge, StoreUnavailable
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.encoding.marks import digest, is_in_table, is_of, table_mark, table_mark_of
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.settings import Settings
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask
from tests.simulation.client import ModelClient

BUCKET = "jobclaim-test"
LARGE = "x" * 5_000


@shared_task(base=JobTask, bind=True, name="large.echo")
def echo(self: Any, text: str) -> str:
    """Give the text back."""
    return text


@shared_task(base=JobTask, bind=True, name="large.lengths")
def lengths(self: Any, texts: list[str]) -> list[int]:
    """Measure what it is given."""
    return [len(text) for text in texts]


@shared_task(base=IdempotentTask, bind=True, name="large.known")
def known(self: Any, number: int) -> str:
    """Give a large text, once."""
    return LARGE


@shared_task(name="large.plain")
def plain() -> str:
    """Give a large text."""
    return LARGE


@pytest.fixture
def repo() -> Iterator[JobRepo]:
    """A repo with small limits and a bucket."""
    settings = Settings(bucket=BUCKET, max_payload_bytes=1000, max_result_bytes=1000)
    dynamodb = ModelClient(system_clock)
    dynamodb.make_tables(settings.job_table, settings.fleet_table)
    with mock_aws():
        s3().create_bucket(Bucket=BUCKET)
        yield JobRepo(dynamodb, settings=settings, sleep=lambda _: None)


def s3() -> Any:
    return boto3.client("s3", region_name="us-east-1")


def objects() -> list[str]:
    return [row["Key"] for row in s3().list_objects_v2(Bucket=BUCKET).get("Contents", ())]


def stored(repo: JobRepo, job_id: str) -> Any:
    job = repo.table.get(job_id)
    assert job is not None
    return job


def test_a_large_payload_goes_to_the_bucket_and_comes_back_with_the_claim(repo: JobRepo) -> None:
    job = repo.create_job("t", {"text": LARGE})
    assert job.payload == {"text": LARGE}
    assert stored(repo, job.job_id).payload.keys() == {LARGE_MARK}
    claimed = repo.claim_job(job.job_id)
    assert claimed is not None
    assert claimed.payload == {"text": LARGE}
    assert len(objects()) == 1
    assert objects()[0].startswith("jobclaim/")


def test_a_submission_does_not_read_its_payload_back(repo: JobRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repo.large, "readable", None)

    assert repo.create_job("large.echo", LARGE).payload == LARGE


def test_a_large_result_goes_to_the_bucket_and_is_read_back(repo: JobRepo) -> None:
    job = repo.create_job("t")
    repo.claim_job(job.job_id)
    repo.update_status(job.job_id, "COMPLETED", result=[LARGE])
    assert stored(repo, job.job_id).result.keys() == {LARGE_MARK}
    assert repo.get_job(job.job_id).result == [LARGE]


def test_small_ones_never_touch_s3(repo: JobRepo) -> None:
    job = repo.create_job("t", {"text": "small"})
    repo.claim_job(job.job_id)
    repo.update_status(job.job_id, "COMPLETED", result="small")
    assert objects() == []


def test_equal_contents_are_one_object(repo: JobRepo) -> None:
    repo.create_job("t", {"text": LARGE})
    repo.create_job("t", {"text": LARGE})
    assert len(objects()) == 1


def test_an_idempotent_duplicate_gets_the_large_result(repo: JobRepo) -> None:
    job = repo.create_job("t", {"text": LARGE}, idempotency_key="k")
    repo.claim_job(job.job_id)
    repo.update_status(job.job_id, "COMPLETED", result=LARGE)
    again = repo.create_job("t", {"text": LARGE}, idempotency_key="k")
    assert (again.created, again.result) == (False, LARGE)


def test_a_retry_may_have_a_larger_payload(repo: JobRepo) -> None:
    job = repo.create_job("t", {"text": "small"})
    repo.claim_job(job.job_id)
    repo.reschedule(job.job_id, payload={"text": LARGE})
    claimed = repo.claim_job(job.job_id)
    assert claimed is not None
    assert claimed.payload == {"text": LARGE}
    repo.reschedule(job.job_id)
    assert stored(repo, job.job_id).payload.keys() == {LARGE_MARK}


def test_without_a_bucket_it_is_refused_before_anything_is_written(repo: JobRepo) -> None:
    plain = JobRepo(repo.table.client(), settings=Settings(max_payload_bytes=1000, max_result_bytes=1000))
    with pytest.raises(PayloadTooLarge, match="payload takes 5011 bytes, at most 1000 are allowed"):
        plain.create_job("t", {"text": LARGE}, job_id="refused")
    assert plain.table.get("refused") is None


def test_an_object_that_is_gone_is_an_error_of_the_claim_and_no_secret_to_a_reader(repo: JobRepo) -> None:
    job = repo.create_job("t", {"text": LARGE})
    s3().delete_object(Bucket=BUCKET, Key=objects()[0])
    assert repo.get_job(job.job_id).payload.keys() == {LARGE_MARK}
    with pytest.raises(OffloadLost, match="lifecycle rule must keep"):
        repo.claim_job(job.job_id)
    failed = repo.update_status(job.job_id, "FAILED", error="payload lost")
    assert failed.status is JobStatus.FAILED


def test_an_object_that_was_changed_is_refused(repo: JobRepo) -> None:
    job = repo.create_job("t", {"text": LARGE})
    s3().put_object(Bucket=BUCKET, Key=objects()[0], Body=b'{"text": "other"}')
    with pytest.raises(OffloadLost, match="its hash differs"):
        repo.claim_job(job.job_id)


def test_a_claim_whose_payload_s3_does_not_give_is_given_back_uncharged(
    repo: JobRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = repo.create_job("t", {"text": LARGE})

    def out_of_order(*_: Any) -> Any:
        raise StoreUnavailable("S3 did not answer")

    with monkeypatch.context() as patch:
        patch.setattr("jobclaim.jobs.storage.offload.Offload.fetch", out_of_order)
        with pytest.raises(StoreUnavailable):
            repo.claim_job(job.job_id)
    after = repo.get_job(job.job_id)
    assert (after.status, after.charged, after.payload) == (JobStatus.PENDING, 0, {"text": LARGE})


def test_a_claim_whose_payload_comes_after_its_lease_is_given_back(
    repo: JobRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = repo.create_job("import", LARGE, queue="default")
    restored, now = repo.large.restored, repo.clock

    def slow(claimed: Job) -> Job:
        monkeypatch.setattr(repo, "clock", lambda: now() + claimed.lease_ms)
        return restored(claimed)

    monkeypatch.setattr(repo.large, "restored", slow)

    assert repo.claim_job(job.job_id) is None
    after = repo.get_job(job.job_id)
    assert (after.status, after.charged) == (JobStatus.PENDING, 0)


def test_a_bucket_that_is_missing_refuses_the_submission(repo: JobRepo) -> None:
    other = JobRepo(repo.table.client(), settings=Settings(bucket="nowhere", max_payload_bytes=1000))
    with pytest.raises(StoreUnavailable, match="S3 did not store payload"):
        other.create_job("t", {"text": LARGE}, job_id="refused")
    assert other.table.get("refused") is None


def test_tasks_hand_large_values_on(jobclaim: Harness) -> None:
    s3().create_bucket(Bucket=BUCKET)
    jobclaim.use(bucket=BUCKET, max_payload_bytes=1000, max_result_bytes=1000)
    result = chain(echo.s(LARGE), echo.s()).apply_async()
    jobclaim.drain()
    assert result.get(timeout=1) == LARGE
    assert stored(jobclaim.repo, result.id).payload.keys() == {LARGE_MARK}


def test_plain_tasks_have_large_results_too(jobclaim: Harness) -> None:
    s3().create_bucket(Bucket=BUCKET)
    jobclaim.use(bucket=BUCKET, max_result_bytes=1000)
    result = plain.delay()
    jobclaim.drain()
    assert result.get(timeout=1) == LARGE
    jobclaim.use(bucket=None)
    refused = plain.delay()
    jobclaim.drain()
    with pytest.raises(EncodeError, match="result takes 5002 bytes, at most 1000 are allowed"):
        refused.get(timeout=1)


@pytest.fixture
def offloading(jobclaim: Harness) -> Harness:
    """A harness with a bucket and small limits."""
    s3().create_bucket(Bucket=BUCKET)
    jobclaim.use(bucket=BUCKET, max_payload_bytes=1000, max_result_bytes=1000)
    return jobclaim


def test_a_group_gives_large_results_as_they_were_returned(offloading: Harness) -> None:
    result = group(echo.s(LARGE), echo.s("small")).apply_async()
    offloading.drain()
    assert result.get(timeout=1) == [LARGE, "small"]


def test_a_chords_body_gets_large_results_as_they_were_returned(offloading: Harness) -> None:
    result = chord([echo.s(LARGE), echo.s("small"), plain.si()])(lengths.s())
    offloading.drain()
    assert result.get(timeout=1) == [5_000, 5, 5_000]


def test_a_chord_whose_members_result_is_gone_fails_its_body(offloading: Harness) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobclaim.workers.results.chords.wake", lambda *_: None)
        result = chord([echo.s(LARGE), echo.s("small")])(lengths.s())
        offloading.drain()
    member = stored(offloading.repo, result.parent.results[0].id)
    s3().delete_object(Bucket=BUCKET, Key=member.result[LARGE_MARK]["key"])
    offloading.travel(400)
    offloading.drain()
    with pytest.raises(ChordError, match="no longer exists"):
        offloading.app.AsyncResult(result.id).get(timeout=1)


def test_a_result_that_s3_does_not_give_is_an_error_and_never_its_mark(
    offloading: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    single, members = known.delay(1), group(echo.s(LARGE)).apply_async()
    offloading.drain()

    def out_of_order(*_: Any) -> Any:
        raise StoreUnavailable("S3 did not answer")

    with monkeypatch.context() as patch:
        patch.setattr("jobclaim.jobs.storage.offload.Offload.fetch", out_of_order)
        duplicate = known.delay(1)
        for ask in (single.get, duplicate.get, members.get):
            with pytest.raises(StoreUnavailable, match="S3 did not answer"):
                ask(timeout=1)
        with pytest.raises(StoreUnavailable, match="S3 did not answer"):
            known.get_cached_result(single.id)
    assert [single.get(timeout=1), duplicate.get(timeout=1), *members.get(timeout=1)] == [LARGE] * 3
    assert known.get_cached_result(single.id) == LARGE


def test_a_task_whose_payload_is_gone_fails_and_says_why(jobclaim: Harness) -> None:
    s3().create_bucket(Bucket=BUCKET)
    jobclaim.use(bucket=BUCKET, max_payload_bytes=1000)
    result = echo.delay(LARGE)
    s3().delete_object(Bucket=BUCKET, Key=objects()[0])
    jobclaim.drain()
    failed = jobclaim.job(result)
    assert failed.status is JobStatus.FAILED
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.PERMANENT
    assert "no longer exists" in failed.failure.message


def test_s3_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, jobs; from settings import Settings; jobs.JobRepo(object(), settings=Settings(bucket='b'));"
    code += "sys.exit('jobclaim.jobs.storage.offload' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_only_a_whole_mark_is_taken_for_one() -> None:
    mark, other = table_mark(f"p#{digest('[1]')}", 1, 2), {LARGE_MARK: {"key": "s3", "bytes": 1}}
    job = Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING)

    assert (
        table_mark_of(replace(job, payload=mark)) == table_mark_of(replace(job, payload=[1], payload_mark=mark)) == mark
    )
    assert table_mark_of(replace(job, payload=mark, payload_mark=other)) is None
    assert (is_of(mark, "[1]"), is_of(mark, "[2]"), is_of(other, "[1]")) == (True, False, False)
    for odd in ({LARGE_MARK: 5}, {LARGE_MARK: None}, {LARGE_MARK: "in"}):
        assert not is_in_table(odd)
        assert not is_of(odd, "[1]")
