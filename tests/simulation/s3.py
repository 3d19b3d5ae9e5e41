"""S3 as its documentation promises it: an object is there for all once it was written; requests may fail."""

from __future__ import annotations

import io
from typing import Any

from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from tests.simulation.dynamodb import refusal
from tests.simulation.line import TIMEOUT_MS, Process

S3: str = "http://s3"


class BucketLine:
    """A client of the one bucket, as a process sees it.

    Parameters
    ----------
    objects : dict of str to bytes
        What the bucket holds; all processes share it.
    """

    def __init__(self, process: Process, objects: dict[str, bytes]) -> None:
        self._process = process
        self._objects = objects

    def put_object(self, **request: Any) -> dict[str, Any]:
        """Write an object; its answer may be lost."""
        self._go("put_object")
        self._objects[request["Key"]] = request["Body"]
        if self._process.shared.faults.strike("lost-answer", self._process.random):
            self._process.pause(TIMEOUT_MS)
            raise ReadTimeoutError(endpoint_url=S3)
        return {}

    def get_object(self, **request: Any) -> dict[str, Any]:
        """Read an object."""
        self._go("get_object")
        if request["Key"] not in self._objects:
            raise refusal("NoSuchKey", "The specified key does not exist.")
        return {"Body": io.BytesIO(self._objects[request["Key"]])}

    def _go(self, operation: str) -> None:
        process = self._process
        process.pause(process.random.randint(0, 50))
        if process.shared.faults.strike("unreachable", process.random):
            process.disturbed_at = process.shared.world.now
            process.note(f"{operation}: no connection")
            raise EndpointConnectionError(endpoint_url=S3)
