"""How much a job may keep over its attempts: one limit for steps, waits and checkpoint together, S3 beyond it."""

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
    """Give a value as the item stores it: itself, or a mark for what went to S3.

    Raises
    ------
    InvalidPayload, StoreUnavailable
    PayloadTooLarge
        There is no room for it, and no bucket; or no room for the mark either.
    """
    left = check(job, value, what, settings, elsewhere=large.enabled)
    return large.fitting(value, what, left, until=until)


def check(job: Job, value: Any, what: str, settings: Settings, *, elsewhere: bool = False) -> int:
    """Give the bytes that a value may take; large ones may go ``elsewhere``.

    Raises
    ------
    InvalidPayload, PayloadTooLarge
    """
    left = room(job, settings) - AROUND
    size = len(codec.encode(value, what=what).encode())
    if left < 0 or (size > left and not elsewhere):
        raise PayloadTooLarge(
            f"{what} takes {size} bytes, and job {job.job_id!r} has room for {max(0, left)} of the "
            f"{limit_of(job, settings)} that its steps, waits and checkpoint may take together; keep the data "
            "elsewhere and pass a reference, set JOBCLAIM_BUCKET, or raise JOBCLAIM_MAX_STEPS_BYTES"
        )
    return left


def room(job: Job, settings: Settings) -> int:
    """Bytes that the job may still keep."""
    size = len(kept.encode_steps(job.steps).encode()) + len(kept.encode_waits(job.waits).encode())
    size += len(kept.encode_progress(job.progress).encode()) if job.progress else 0
    return limit_of(job, settings) - size - len(codec.encode(job.checkpoint).encode())


def limit_of(job: Job, settings: Settings) -> int:
    """Bytes that steps, waits and checkpoint of a job may take: the setting, or what payload and result leave."""
    payload = len(codec.encode(job.payload if job.payload_mark is None else job.payload_mark).encode())
    return max(0, min(settings.max_steps_bytes, ITEM_BUDGET - payload - settings.max_result_bytes))


def check_number(count: int, most: int, what: str, advice: str) -> None:
    """Refuse one more of what a job already has as many of as it may.

    Raises
    ------
    InvalidInput
    """
    if count >= most:
        raise InvalidInput(f"the job has {count} {what}, {most} are allowed; {advice}")
