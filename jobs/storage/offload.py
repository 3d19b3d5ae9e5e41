"""Payloads and results too large for an item, in S3. Imported only if a bucket is set and a value is large.

::

    create_job(payload)  ──too large──▶ PUT <prefix><sha256 of the JSON>.json ──▶ item: {"jobclaim:s3": {key, bytes}}
    claim_job, get_job   ◀── GET, checked against its hash ◀──────────────────── item

The object is written before the item, so an item never points to a missing object; an object whose item was then
refused is left behind and expires by the bucket's lifecycle rule. Equal contents share one object, and every write
restarts its lifetime: set the rule to the longest time that a job may wait, run and be kept (`dead_retention_days`)
together. This module deletes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import ClientError

from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.errors import OffloadLost, PayloadTooLarge, StoreUnavailable

MOST_BYTES: Final = 50_000_000
"""A payload is read into the memory of each process that runs its job; a larger one should be a file of its own."""
GONE: Final = frozenset({"NoSuchKey", "404", "NoSuchBucket"})


class Offload:
    """Large values in one bucket.

    Parameters
    ----------
    client : callable
        Returns a boto3 S3 client of this process.
    persist : callable
        Retries a request if it may succeed later.
    """

    def __init__(
        self, client: Callable[[], Any], bucket: str, prefix: str, persist: Callable[[Callable[[], Any]], Any]
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._persist = persist

    def store(self, value: Any, *, what: str = "payload") -> dict[str, Any]:
        """Write a value under the hash of its content; return the mark to store in its place.

        Raises
        ------
        PayloadTooLarge, StoreUnavailable
        """
        body = codec.encode(value, what=what).encode()
        if len(body) > MOST_BYTES:
            raise PayloadTooLarge(
                f"{what} takes {len(body)} bytes, and at most {MOST_BYTES} are allowed even in S3; store it yourself "
                "and pass a reference"
            )
        key = f"{self._prefix}{hashlib.sha256(body).hexdigest()}.json"
        put = {"Bucket": self._bucket, "Key": key, "Body": body, "ContentType": "application/json"}
        try:
            self._persist(lambda: self._client().put_object(**put))
        except StoreUnavailable as error:
            raise StoreUnavailable(f"S3 did not store {what} of {len(body)} bytes: {error}; submit again") from error
        return {LARGE_MARK: {"key": key, "bytes": len(body)}}

    def fetch(self, mark: dict[str, Any]) -> Any:
        """Read a value back.

        Raises
        ------
        OffloadLost
            The object is missing, or differs from what was written.
        StoreUnavailable
        """
        key = mark[LARGE_MARK]["key"]
        try:
            body = self._persist(lambda: self._read(key))
        except StoreUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and cause.response.get("Error", {}).get("Code") in GONE:
                raise OffloadLost(
                    f"s3://{self._bucket}/{key} no longer exists; the bucket's lifecycle rule must keep objects as "
                    "long as jobs are kept"
                ) from cause
            raise StoreUnavailable(f"S3 did not return s3://{self._bucket}/{key}: {error}") from error
        if hashlib.sha256(body).hexdigest() not in key:
            raise OffloadLost(
                f"s3://{self._bucket}/{key} is not what was written: its hash differs; find out what else writes to "
                "the bucket, then restore the object or submit the job again"
            )
        return codec.decode(body.decode())

    def _read(self, key: str) -> Any:
        body = self._client().get_object(Bucket=self._bucket, Key=key)["Body"]
        return body.read(MOST_BYTES + 1)  # bounds the memory: a longer object fails the check of its hash
