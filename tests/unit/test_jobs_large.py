"""Where a large value is stored, by its size and the settings, and how a job's large values are read back."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError

from jobclaim.jobs import InvalidPayload, Job, JobStatus, PayloadTooLarge, StoreUnavailable
from jobclaim.jobs.encoding.marks import digest, is_mark, table_mark
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.errors import JobError
from jobclaim.jobs.storage import large as module
from jobclaim.jobs.storage.large import Large
from jobclaim.jobs.storage.payload_items import PayloadItems
from jobclaim.jobs.storage.resilience import TRIES
from jobclaim.settings import Settings
from tests.support.clock import ManualClock

DAY_MS = 86_400_000
JOB = Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING)
BESIDE = table_mark("in the table", 1, 2)


class Items:
    """Payload items that are told, and not written."""

    def __init__(self) -> None:
        self.put_: list[tuple[str, int, int | None]] = []

    def put(self, job: Job, text: str, *, kept_ms: int = 0, until: int | None = None) -> dict[str, Any]:
        self.put_.append((text, kept_ms, until))
        return BESIDE

    def get(self, mark: dict[str, Any]) -> Any:
        assert mark == BESIDE
        return "read from the table"


class S3:
    """A bucket in memory, away for some requests."""

    def __init__(self) -> None:
        self.away = 0
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> None:  # noqa: N803
        self._answer()
        self.objects[f"{Bucket}/{Key}"] = Body

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        self._answer()
        return {"Body": io.BytesIO(self.objects[f"{Bucket}/{Key}"])}

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise EndpointConnectionError(endpoint_url="http://s3")


@pytest.fixture
def items() -> Items:
    return Items()


@pytest.fixture
def s3() -> S3:
    return S3()


@pytest.fixture
def waits() -> list[float]:
    """How long was waited between tries."""
    return []


@pytest.fixture
def make(items: Items, s3: S3, clock: ManualClock, waits: list[float]) -> Callable[..., Large]:
    """Make what stores large values under given settings."""

    def made(**fields: Any) -> Large:
        settings = Settings(_env_file=None, **{"bucket": "b", "max_payload_bytes": 30, **fields})
        return Large(settings, cast("PayloadItems", items), s3, clock=clock, sleep=waits.append)

    return made


def in_bucket(value: Any, s3: S3) -> dict[str, Any]:
    """Put a value into the bucket by hand; gives its mark."""
    text = json.dumps(value)
    s3.objects[f"b/jobclaim/{digest(text)}.json"] = text.encode()
    return {LARGE_MARK: {"key": f"jobclaim/{digest(text)}.json", "bytes": len(text)}}


# --- values
def test_a_value_is_itself_up_to_a_limit_and_then_a_mark_of_an_object(make: Callable[..., Large], s3: S3) -> None:
    large = make()
    assert (large.enabled, make(bucket=None).enabled) == (True, False)
    assert (large.fitting("x" * 8, "result", 10), s3.objects) == ("x" * 8, {})
    mark = large.fitting("x" * 9, "result", 10)
    assert s3.objects == {f"b/{mark[LARGE_MARK]['key']}": b'"xxxxxxxxx"'}
    assert mark == in_bucket("x" * 9, s3)
    assert [large.value(one) for one in (mark, BESIDE, "x", None)] == ["x" * 9, "read from the table", "x", None]


def test_what_cannot_be_stored_is_refused_by_its_name(make: Callable[..., Large]) -> None:
    with pytest.raises(InvalidPayload, match=r"^result is a map whose only key"):
        make().fitting({LARGE_MARK: 1}, "result", 1000)
    with pytest.raises(PayloadTooLarge, match=r"^result takes 11 bytes, at most 10 are allowed"):
        make(bucket=None).fitting("x" * 9, "result", 10)


def test_a_mark_of_an_object_cannot_be_read_without_its_bucket(make: Callable[..., Large], s3: S3) -> None:
    mark = in_bucket([1], s3)
    with pytest.raises(JobError, match="set JOBCLAIM_BUCKET"):
        make(bucket=None).value(mark)


def test_s3_is_asked_again_and_until_a_lease_ends_where_there_is_one(
    make: Callable[..., Large], s3: S3, clock: ManualClock, waits: list[float]
) -> None:
    large = make()
    s3.away = TRIES - 1
    assert is_mark(large.fitting("x" * 9, "result", 10))
    assert len(waits) == TRIES - 1
    s3.away = TRIES
    with pytest.raises(StoreUnavailable, match="S3 did not answer"):
        large.fitting("x" * 9, "result", 10)
    s3.away = TRIES + 5
    assert is_mark(large.fitting("x" * 9, "result", 10, until=clock() + 3_600_000))


def test_a_client_of_its_own_is_made_when_it_is_first_needed_and_once(
    items: Items, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def connect(_: Settings, service: str) -> S3:
        made.append(service)
        return s3

    monkeypatch.setattr(module, "connect", connect)
    large = Large(Settings(_env_file=None, bucket="b"), cast("PayloadItems", items))
    assert made == []
    assert [large.value(in_bucket(value, s3)) for value in ("one", "two")] == ["one", "two"]
    assert made == ["s3"]


# --- payloads
@pytest.mark.parametrize(
    ("text", "inline", "is_beside"),
    [
        ("x" * 10, None, False),
        ("x" * 11, None, True),
        ("é" * 5, None, False),
        ("é" * 6, None, True),
        ("x" * 5, 5, False),
        ("x" * 6, 5, True),
        ("x" * 20, 20, False),
        ("x", 0, True),
    ],
)
def test_a_payload_is_beside_its_job_beyond_what_the_jobs_item_has_room_for(
    make: Callable[..., Large], items: Items, text: str, inline: int | None, is_beside: bool
) -> None:
    found = make(inline_payload_bytes=10).beside(JOB, text, inline=inline, until=7)
    assert (found, found.payload_mark) == (JOB, BESIDE if is_beside else None)
    assert items.put_ == [(text, 7 * DAY_MS, 7)] * is_beside


@pytest.mark.parametrize(
    ("days", "ttl", "kept_ms"), [(2, 0, 2 * DAY_MS), (2, 3 * 86_400.0, 3 * DAY_MS), (0.5, 86_399.9995, DAY_MS)]
)
def test_a_payload_is_kept_as_long_as_its_job_or_its_key(
    make: Callable[..., Large], items: Items, days: float, ttl: float, kept_ms: int
) -> None:
    make(completed_retention_days=days).beside(replace(JOB, idempotency_ttl=ttl), "x", inline=0)
    assert items.put_ == [("x", kept_ms, None)]


@pytest.mark.parametrize(
    ("payload", "is_beside", "is_in_s3"), [("x" * 8, False, False), ("x" * 9, True, False), ("x" * 29, False, True)]
)
def test_another_payload_is_stored_by_its_own_size(
    make: Callable[..., Large], items: Items, s3: S3, clock: ManualClock, payload: str, is_beside: bool, is_in_s3: bool
) -> None:
    job, until = replace(JOB, payload=[1], payload_mark=table_mark("before", 1, 2)), clock() + 3_600_000
    s3.away = TRIES
    found = make().replaced(job, payload, inline=10, until=until)
    assert found == replace(JOB, payload=in_bucket(payload, s3) if is_in_s3 else payload)
    assert found.payload_mark == (BESIDE if is_beside else None)
    assert items.put_ == [(json.dumps(payload), 7 * DAY_MS, until)] * is_beside


# --- reading a job back
@pytest.mark.parametrize("name", ["payload", "result", "checkpoint"])
@pytest.mark.parametrize("where", ["bucket", "table"])
def test_each_large_value_is_read_back_and_the_payloads_mark_is_kept(
    make: Callable[..., Large], s3: S3, name: str, where: str
) -> None:
    mark, value = (in_bucket([1], s3), [1]) if where == "bucket" else (BESIDE, "read from the table")
    known = None if name == "payload" else {LARGE_MARK: "known"}
    small = replace(JOB, payload="p", result="r", checkpoint="c", payload_mark=known)
    large = make()
    for read in (large.restored, large.readable):
        found = read(replace(small, **{name: mark}))  # type: ignore[arg-type]
        assert found == replace(small, **{name: value})  # type: ignore[arg-type]
        assert found.payload_mark == (mark if name == "payload" else known)
    assert large.restored(small) is small


def test_for_display_a_mark_stands_in_for_what_cannot_be_read(
    make: Callable[..., Large], s3: S3, caplog: pytest.LogCaptureFixture
) -> None:
    job = replace(JOB, result=in_bucket([1], s3))
    assert make(bucket=None).readable(job) is job
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["payload.unavailable"]
