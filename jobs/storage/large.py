"""A payload or result that does not fit into its job's item: in an item of its own, in S3, or refused.

::

    payload up to `inline_payload_bytes`   in the job's item: a claim returns it, in one request
            up to `max_payload_bytes`      in an item of its own (`jobclaim.jobs.storage.payload_items`)
    result  up to `max_result_bytes`       in the job's item
    more                                   in S3, or refused if no bucket is set
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from jobclaim.jobs.clock import Clock, system_clock, wait
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.marks import is_in_table, is_mark, refuse_mark
from jobclaim.jobs.errors import JobError, PayloadTooLarge
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job
from jobclaim.jobs.storage.connect import PerProcess
from jobclaim.jobs.storage.connect import client as connect
from jobclaim.jobs.storage.payload_items import PayloadItems
from jobclaim.jobs.storage.resilience import persistently
from jobclaim.settings import Settings

if TYPE_CHECKING:
    from jobclaim.jobs.storage.offload import Offload

log = get_logger("jobclaim.jobs")


class Large:
    """Large values of one repo; uses S3 only where necessary.

    Parameters
    ----------
    items : PayloadItems
        Payload items of the repo's table.
    client : optional
        A boto3 S3 client; default: created from settings on first use, once per process.
    """

    def __init__(
        self,
        settings: Settings,
        items: PayloadItems,
        client: Any = None,
        *,
        clock: Clock = system_clock,
        sleep: Callable[[float], None] = wait,
    ) -> None:
        self._settings = settings
        self._items = items
        self._persistently = partial(persistently, clock=clock, sleep=sleep, service="S3")
        own = PerProcess(lambda: connect(settings, "s3"))
        self._client = own.get if client is None else lambda: client

    @property
    def enabled(self) -> bool:
        """Whether large values can be stored."""
        return bool(self._settings.bucket)

    def fitting(self, value: Any, what: str, limit: int, *, until: int | None = None) -> Any:
        """Return a value as an item stores it: itself, or a mark for a value that was moved to S3.

        ``until`` as in `jobclaim.jobs.storage.resilience.persistently`.

        Raises
        ------
        InvalidPayload, PayloadTooLarge, StoreUnavailable
        """
        if value is None:  # as most bodies return
            return None
        refuse_mark(value, what)
        try:
            codec.encode(value, what=what, limit=limit)
        except PayloadTooLarge:
            if not self.enabled:
                raise
            return self._offload(until).store(value, what=what)
        return value

    def beside(self, job: Job, text: str, *, inline: int | None = None, until: int | None = None) -> Job:
        """Write a job's payload, whose JSON is ``text``, into an item of its own if it is large enough.

        ``inline`` is the most that the job's item has room for, default `inline_payload_bytes`; ``until`` as in
        `fitting`.

        Raises
        ------
        StoreUnavailable
        """
        most = self._settings.inline_payload_bytes if inline is None else inline
        if len(text) <= most and len(text.encode()) <= most:
            return job
        kept_ms = max(self._settings.completed_retention_days * 86_400_000, job.idempotency_ttl * 1000)
        return replace(job, payload_mark=self._items.put(job, text, kept_ms=round(kept_ms), until=until))

    def replaced(self, job: Job, payload: Any, *, inline: int, until: int | None = None) -> Job:
        """Return a job with another payload, stored according to its size. Parameters and errors as `beside`."""
        fitting = self.fitting(payload, "payload", self._settings.max_payload_bytes, until=until)
        job = replace(job, payload=fitting, payload_mark=None)
        return job if is_mark(fitting) else self.beside(job, codec.encode(payload), inline=inline, until=until)

    def restored(self, job: Job) -> Job:
        """Return a job with its large values read back.

        Raises
        ------
        OffloadLost, StoreUnavailable
        """
        if not (is_mark(job.payload) or is_mark(job.result) or is_mark(job.checkpoint)):
            return job
        mark = job.payload if is_mark(job.payload) else job.payload_mark
        return replace(
            job,
            payload=self.value(job.payload),
            payload_mark=mark,
            result=self.value(job.result),
            checkpoint=self.value(job.checkpoint),
        )

    def value(self, value: Any) -> Any:
        """Read one value back if it is a mark. Raises as `restored`."""
        if is_in_table(value):
            return self._items.get(value)
        return self._offload().fetch(value) if is_mark(value) else value

    def readable(self, job: Job) -> Job:
        """Return a job as `restored` does, for display: if a value cannot be read, its mark stands in for it."""
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
