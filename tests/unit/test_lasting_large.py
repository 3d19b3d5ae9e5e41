"""What a job keeps and its item has no room for goes to the bucket, and comes back from there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from celery import shared_task
from moto import mock_aws

from jobclaim.jobs.encoding.marks import is_mark
from jobclaim.testing import Harness
from jobclaim.workers import JobTask

BUCKET = "large"
runs: list[str] = []


@pytest.fixture
def bucket(jobclaim: Harness) -> Iterator[Harness]:
    """A harness with a bucket and little room."""
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
        jobclaim.use(bucket=BUCKET, max_steps_bytes=10_000)
        runs.clear()
        yield jobclaim


def much(letter: str) -> str:
    """Give more than the item has room for."""
    runs.append(letter)
    return letter * 20_000


@shared_task(base=JobTask, bind=True, name="lasting.large", max_retries=1, default_retry_delay=0)
def large(self: Any) -> Any:
    """Keep much."""
    got = self.step("much", much, "a")
    if not self.request.retries:
        self.progress(1, 2, checkpoint="c" * 20_000)
        raise self.retry(exc=ConnectionError())
    return [len(got), len(self.request.job.checkpoint), len(self.wait_for("go"))]


def test_steps_checkpoints_and_resumes_beyond_the_limit_go_to_the_bucket_and_back(bucket: Harness) -> None:
    result = large.delay()
    bucket.drain()
    assert bucket.job(result).waits_for == "go"
    bucket.repo.resume(result.id, "go", "p" * 20_000)
    assert bucket.repo.resume(result.id, "go", "p" * 20_000).job_id == result.id

    bucket.drain()

    assert result.get(timeout=1) == [20_000, 20_000, 20_000]
    stored = bucket.repo.table.get(result.id)
    assert stored is not None
    assert runs == ["a"]
    assert all(map(is_mark, (stored.steps[0].result, stored.waits[0].payload, stored.checkpoint)))


@shared_task(base=JobTask, bind=True, name="lasting.grown", max_retries=1, default_retry_delay=0)
def grown(self: Any, text: str) -> str:
    """Keep much, then try again with a large argument, and give a large result."""
    for number in range(4):
        self.step(f"step {number}", much, "a")
    if not self.request.retries:
        raise self.retry(exc=ConnectionError(), args=("t" * 190_000,))
    return text[:90_000]


def test_a_retry_with_a_large_argument_leaves_room_for_what_the_job_keeps_and_for_its_result(
    jobclaim: Harness,
) -> None:
    """Beside 80 KB of steps and a result of 90 KB it would exceed an item, although each of them is allowed."""
    jobclaim.use(inline_payload_bytes=200_000, max_payload_bytes=200_000)
    result = grown.delay("short")
    jobclaim.drain()
    assert result.get(timeout=1) == "t" * 90_000
    stored = jobclaim.repo.table.get(result.id)
    assert stored is not None
    assert is_mark(stored.payload)
