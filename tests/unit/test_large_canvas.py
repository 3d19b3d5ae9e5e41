"""What follows a job may be as large as a payload, and larger where there is a bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import chain, chord, group, shared_task

from jobclaim.jobs import JobStatus, PayloadTooLarge
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from jobclaim.workers.messages.envelope import AWAY_PREFIX, MOST_IN_A_MESSAGE

told: list[str] = []


@shared_task(base=JobTask, bind=True, name="large.count")
def count(self: Any, *values: Any) -> int:
    """Count what it gets."""
    return sum(len(value) if isinstance(value, (str, list)) else 1 for value in values)


@shared_task(base=JobTask, bind=True, name="large.fail")
def fail(self: Any, *_: Any) -> None:
    """Fail."""
    raise LookupError("nothing there")


@shared_task(base=JobTask, bind=True, name="large.told")
def on_error(self: Any, failed_id: str, *_: Any) -> None:
    """Error callback."""
    told.append(failed_id)


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    told.clear()


def noise(size: int) -> str:
    """Text that does not become smaller when it is compressed."""
    import random

    return "".join(
        random.Random(size).choices("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=size)
    )


CANVASES: dict[str, tuple[Callable[[], Any], Any]] = {
    "group of 200 in a chain": (
        lambda: chain(count.s(1), group(count.s(noise(300)[: 100 + number]) for number in range(200)), count.s()),
        200,
    ),
    "second step of 30 KB": (lambda: chain(count.s(1), count.s(noise(30_000))), 30_001),
    "second step of 150 KB": (lambda: chain(count.s(1), count.s(noise(150_000))), 150_001),
    "late step of 60 KB": (lambda: chain(count.s(1), count.s(), count.s(), count.s(noise(60_000))), 60_001),
    "chord with a body of 40 KB": (lambda: chord([count.s(1), count.s(2)], count.s(noise(40_000))), 40_002),
    "group of 600 that packs well": (
        lambda: chain(count.s(1), group(count.s("y" * 1000) for _ in range(600)), count.s()),
        600,
    ),
    "callback of 50 KB": (lambda: chain(count.s("ab")).on_error(count.s(noise(50_000))), 2),
}


@pytest.mark.parametrize("name", CANVASES)
def test_what_follows_may_be_as_large_as_a_payload(jobclaim: Harness, name: str) -> None:
    made, expected = CANVASES[name]
    result = made().apply_async()
    assert all(len(str(message.options)) <= MOST_IN_A_MESSAGE for message in jobclaim.messages)
    jobclaim.drain()
    assert result.get(timeout=60) == expected


def test_more_than_a_payload_is_refused_before_anything_is_written(jobclaim: Harness) -> None:
    with pytest.raises(PayloadTooLarge, match=r"what follows the job .* takes \d+ bytes .*JOBCLAIM_BUCKET"):
        chain(count.s(1), count.s(noise(199_000)), count.s(noise(100_000))).apply_async()
    assert not jobclaim.submitted


def test_payload_and_what_follows_share_the_limit(jobclaim: Harness) -> None:
    with pytest.raises(PayloadTooLarge, match="together"):
        chain(count.s(noise(150_000)), count.s(noise(100_000))).apply_async()


@pytest.fixture
def with_bucket(jobclaim: Harness) -> Harness:
    """A harness with a bucket."""
    import boto3

    boto3.client("s3").create_bucket(Bucket="large")
    jobclaim.use(bucket="large")
    return jobclaim


def test_more_than_a_payload_goes_to_s3(with_bucket: Harness) -> None:
    result = chain(count.s(noise(150_000)), count.s(noise(190_000)), count.s(noise(100_000))).apply_async()
    first = with_bucket.submitted[0]
    assert first.envelope.startswith(AWAY_PREFIX)
    assert len(first.envelope) < 1_000
    with_bucket.drain()
    assert result.get(timeout=60) == 100_001


def test_error_callbacks_in_s3_are_called(with_bucket: Harness) -> None:
    result = fail.apply_async(link_error=[on_error.s(noise(250_000))])
    with_bucket.drain()
    assert told == [result.id]


def test_links_in_s3_of_an_orphan_are_told(with_bucket: Harness) -> None:
    result = chain(count.s(1), count.s(noise(250_000))).apply_async()
    lost = with_bucket.abandon()
    with_bucket.travel(lost.lease_ms / 1000 + 1)
    with_bucket.recover()
    with_bucket.drain()
    assert with_bucket.app.AsyncResult(result.id).state == "FAILURE"


def test_a_job_whose_links_s3_does_not_give_is_given_back(
    with_bucket: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobclaim.jobs import StoreUnavailable
    from jobclaim.jobs.storage.offload import Offload

    result = chain(count.s(1), count.s(noise(250_000))).apply_async()

    def away(*_: Any) -> Any:
        raise StoreUnavailable("S3 does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Offload, "fetch", away)
        with_bucket.deliver(with_bucket.messages.popleft())
    first = with_bucket.job(result.parent)
    assert (first.status, first.charged) == (JobStatus.PENDING, 0)
    with_bucket.drain()
    assert result.get(timeout=60) == 250_001


@pytest.mark.parametrize("members", [100, 400])
def test_a_chord_of_many_members_keeps_their_list_outside_of_its_job(jobclaim: Harness, members: int) -> None:
    result = chord([count.s(number) for number in range(members)])(count.s())
    jobclaim.drain()
    assert result.get(timeout=60) == members
    chord_job = next(job for job in jobclaim.submitted if job.task == "jobclaim.chord")
    assert len(str(chord_job.payload)) < 25_000
    assert jobclaim.job(chord_job).attempt == 1, "the last member woke it"
