"""Size limits on what a job keeps over its attempts: one limit for steps, waits and checkpoint together; larger values
go to S3.
"""

from __future__ import annotations

from typing import Any, Final

from jobclaim.jobs.encoding import codec, kept
from jobclaim.jobs.errors import InvalidInput, PayloadTooLarge
from jobclaim.jobs.model import Job
from jobclaim.jobs.storage.large import Large
from jobclaim.settings import ITEM_BUDGET, Settings

AROUND: Final = 1_500
"""Bytes that a record takes beside its value: its names, its times, a mark of what is in S3."""


def fitting(job: Job, value: Any, what: str, large: Large, settings: Settings, *, until: int | None = None) -> Any:
    """Return a value as the item stores it: the value itself, or a mark for a value that was moved to S3.

    Raises
    ------
    InvalidPayload, StoreUnavailable
    PayloadTooLarge
        The value exceeds the limit and there is no bucket, or the mark does not fit either.
    """
    left = check(job, value, what, settings, elsewhere=large.enabled)
    return large.fitting(value, what, left, until=until)


def check(job: Job, value: Any, what: str, settings: Settings, *, elsewhere: bool = False) -> int:
    """Return how many bytes a value may take; large ones may be stored ``elsewhere``.

    Raises
    ------
    InvalidPayload, PayloadTooLarge
    """
    left = room(job, settings) - AROUND
    size = len(codec.encode(value, what=what).encode())
    if left < 0 or (size > left and not elsewhere):
        raise PayloadTooLarge(
            f"{what} takes {size} bytes, and job {job.job_id!r} has {max(0, left)} left of the "
            f"{limit_of(job, settings)} for its steps, waits and checkpoint together; store the data elsewhere and "
            "pass a reference, set JOBCLAIM_BUCKET, or raise JOBCLAIM_MAX_STEPS_BYTES"
        )
    return left


def room(job: Job, settings: Settings) -> int:
    """Return the bytes that the job may still store."""
    return limit_of(job, settings) - _kept_bytes(job)


def for_payload(job: Job, settings: Settings) -> int:
    """Return the bytes that another payload may take in the item of a job that keeps steps, beside its result."""
    return min(settings.inline_payload_bytes, max(0, ITEM_BUDGET - settings.max_result_bytes - _kept_bytes(job)))


def _kept_bytes(job: Job) -> int:
    size = len(kept.encode_steps(job.steps).encode()) + len(kept.encode_waits(job.waits).encode())
    size += len(kept.encode_progress(job.progress).encode()) if job.progress else 0
    return size + len(codec.encode(job.checkpoint).encode())


def limit_of(job: Job, settings: Settings) -> int:
    """Return the bytes for a job's steps, waits and checkpoint: the setting, or what payload and result leave."""
    payload = len(codec.encode(job.payload if job.payload_mark is None else job.payload_mark).encode())
    return max(0, min(settings.max_steps_bytes, ITEM_BUDGET - payload - settings.max_result_bytes))


def check_number(count: int, most: int, what: str, advice: str) -> None:
    """Refuse another item when a job has already reached the maximum number.

    Raises
    ------
    InvalidInput
    """
    if count >= most:
        raise InvalidInput(f"the job has {count} {what}, and at most {most} are allowed; {advice}")
