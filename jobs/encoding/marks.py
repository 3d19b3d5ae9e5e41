"""Marks: placeholders in an item for large values, which say where the value is stored."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.errors import InvalidPayload
from jobclaim.jobs.model import Job

TABLE: Final = "table"
"""Value of ``in`` in the mark of a payload that has an item of its own; marks of values in S3 have no ``in``."""


def table_mark(key: str, size: int, until: int) -> dict[str, Any]:
    """Create the mark of a payload with an item of its own, which is kept until ``until``, in epoch seconds.

    The first release reads this mark as that of a value in S3 and fails the job instead of running it with a wrong
    payload.
    """
    return {LARGE_MARK: {"key": key, "bytes": size, "in": TABLE, "until": until}}


def is_mark(value: Any) -> bool:
    """Check whether a stored value is a mark."""
    return isinstance(value, dict) and value.keys() == {LARGE_MARK}


def is_in_table(value: Any) -> bool:
    """Check whether a stored value is the mark of a payload that has an item of its own."""
    return is_mark(value) and isinstance(value[LARGE_MARK], dict) and value[LARGE_MARK].get("in") == TABLE


def table_mark_of(job: Job) -> dict[str, Any] | None:
    """Return the mark of a job's payload if it has an item of its own, whether the payload was read or not."""
    mark = job.payload if job.payload_mark is None else job.payload_mark
    return mark if is_in_table(mark) else None


def refuse_mark(value: Any, what: str) -> None:
    """Refuse a caller's value that looks like a mark: jobclaim would look for the value elsewhere.

    Raises
    ------
    InvalidPayload
    """
    if is_mark(value):
        raise InvalidPayload(
            f"{what} is a map whose only key is {LARGE_MARK!r}, which jobclaim reserves for values that it stores "
            "elsewhere; wrap it in a map with a key of your own"
        )


def digest(text: str) -> str:
    """Hash a value's JSON: 64 hexadecimal digits, by which a large value is named and checked."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_of(mark: Any, text: str) -> bool:
    """Check whether a mark belongs to a value with this JSON."""
    known = mark[LARGE_MARK]
    return isinstance(known, dict) and digest(text) in str(known.get("key", ""))
