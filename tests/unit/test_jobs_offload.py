"""One large value in S3: what is refused before it is written, and what becomes of each answer to a read."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from jobclaim.jobs import OffloadLost, PayloadTooLarge, StoreUnavailable
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.storage import offload
from jobclaim.jobs.storage.offload import Offload

MOST = 100


class Bucket:
    """S3 in memory; raises what the test wants."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.error: Exception | None = None

    def put_object(self, **request: Any) -> None:
        if self.error:
            raise self.error
        self.objects[request["Bucket"], request["Key"]] = request["Body"]

    def get_object(self, **request: Any) -> dict[str, Any]:
        if self.error:
            raise self.error
        return {"Body": io.BytesIO(self.objects[request["Bucket"], request["Key"]])}


def persist(request: Callable[[], Any]) -> Any:
    """Ask once, as the table does in the end."""
    try:
        return request()
    except Exception as error:
        raise StoreUnavailable("S3 fails") from error


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetObject")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket, in a process that takes little."""
    monkeypatch.setattr(offload, "MOST_BYTES", MOST)
    return Bucket()


@pytest.fixture
def values(bucket: Bucket) -> Offload:
    """The large values in that bucket."""
    return Offload(lambda: bucket, "b", "p/", persist)


def test_a_value_of_just_the_allowed_size_comes_back(bucket: Bucket, values: Offload) -> None:
    value = "x" * (MOST - 2)
    mark = values.store(value)
    assert mark[LARGE_MARK]["bytes"] == MOST
    assert list(bucket.objects) == [("b", mark[LARGE_MARK]["key"])]
    assert values.fetch(mark) == value


def test_a_larger_one_is_refused_and_not_written(bucket: Bucket, values: Offload) -> None:
    with pytest.raises(PayloadTooLarge, match="result takes 101 bytes"):
        values.store("x" * (MOST - 1), what="result")
    assert bucket.objects == {}


def test_an_object_that_grew_is_not_what_was_written(bucket: Bucket, values: Offload) -> None:
    mark = values.store("x" * (MOST - 2))
    bucket.objects["b", mark[LARGE_MARK]["key"]] += b" "
    with pytest.raises(OffloadLost, match="its hash differs"):
        values.fetch(mark)


def test_a_write_that_fails_is_an_error(bucket: Bucket, values: Offload) -> None:
    bucket.error = refused("SlowDown")
    with pytest.raises(StoreUnavailable, match=r"S3 did not store payload of 3 bytes.*submit again"):
        values.store("x")


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (refused("NoSuchKey"), True),
        (refused("NoSuchBucket"), True),
        (refused("404"), True),
        (refused("AccessDenied"), False),
        (ClientError({}, "GetObject"), False),
        (EndpointConnectionError(endpoint_url="https://s3.example"), False),
    ],
    ids=lambda value: str(value).partition(":")[0],
)
def test_only_a_missing_object_is_lost_for_good(bucket: Bucket, values: Offload, error: Exception, lost: bool) -> None:
    mark = values.store("x")
    bucket.error = error
    with pytest.raises(OffloadLost if lost else StoreUnavailable, match=mark[LARGE_MARK]["key"]):
        values.fetch(mark)
