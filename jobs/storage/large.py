"""A payload or result that an item has no room for: refused, or in S3 where a bucket is set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from jobclaim.jobs.clock import Clock, system_clock, wait
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.errors import InvalidPayload, JobError, PayloadTooLarge
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job
from jobclaim.jobs.storage.connect import PerProcess
from jobclaim.jobs.storage.connect import client as connect
from jobclaim.jobs.storage.resilience import persistently
from jobclaim.settings import Settings

if TYPE_CHECKING:
    from jobclaim.jobs.storage.offload import Offload

log = get_logger("jobclaim.jobs")


class Large:
    """Large values of one repo; knows S3 only where it must.

    Parameters
    ----------
    client : optional
        A boto3 S3 client; default: made from settings on first use, in each process anew.
    """

    def __init__(
        self,
        settings: Settings,
        client: Any = None,
        *,
        clock: Clock = system_clock,
        sleep: Callable[[float], None] = wait,
    ) -> None:
        self._settings = settings
        self._persistently = partial(persistently, clock=clock, sleep=sleep, service="S3")
        own = PerProcess(lambda: connect(settings, "s3"))
        self._client = own.get if client is None else lambda: client

    @property
    def enabled(self) -> bool:
        """Whether large values have a place to go."""
        return bool(self._settings.bucket)

    def fitting(self, value: Any, what: str, limit: int, *, until: int | None = None) -> Any:
        """Give a value as an item stores it: itself, or a mark for what went to S3.

        ``until`` as in `jobclaim.jobs.storage.resilience.persistently`.

        Raises
        ------
        InvalidPayload, PayloadTooLarge, StoreUnavailable
        """
        refuse_mark(value, what)
        try:
            codec.encode(value, what=what, limit=limit)
        except PayloadTooLarge:
            if not self.enabled:
                raise
            return self._offload(until).store(value, what=what)
        return value

    def restored(self, job: Job) -> Job:
        """Give a job with its large values read back.

        Raises
        ------
        OffloadLost, StoreUnavailable
        """
        if not (is_mark(job.payload) or is_mark(job.result)):
            return job
        return replace(job, payload=self.value(job.payload), result=self.value(job.result))

    def value(self, value: Any) -> Any:
        """Read one value back, if it is a mark. Raises as `restored`."""
        return self._offload().fetch(value) if is_mark(value) else value

    def readable(self, job: Job) -> Job:
        """As `restored`, for whoever looks at a job: where S3 does not give a value, its mark stands for it."""
        try:
            return self.restored(job)
        except JobError as error:
            log.warning("payload.unavailable", reason=str(error), **job.log_context())
            return job

    def _offload(self, until: int | None = None) -> Offload:
        from jobclaim.jobs.storage.offload import Offload

        if not self._settings.bucket:
            raise JobError(
                "a large payload or result of this job is in S3; set JOBCLAIM_BUCKET to the bucket that has it"
            )
        persist = partial(self._persistently, until=until)
        return Offload(self._client, self._settings.bucket, self._settings.bucket_prefix, persist)


def refuse_mark(value: Any, what: str) -> None:
    """Refuse a value of a caller's that looks like a mark of ours: it would be read from S3, where it is not.

    Raises
    ------
    InvalidPayload
    """
    if is_mark(value):
        raise InvalidPayload(
            f"{what} is a map with the one key {LARGE_MARK!r}, which marks what jobclaim keeps in S3; "
            "put it into a map with a key of your own"
        )


def is_mark(value: Any) -> bool:
    """Whether a stored value only tells where the real one is."""
    return isinstance(value, dict) and value.keys() == {LARGE_MARK}
