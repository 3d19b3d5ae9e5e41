"""Checks of callers' arguments, made before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from jobclaim.jobs.errors import IllegalTransition, InvalidInput
from jobclaim.jobs.model import JobStatus

MAX_ID: Final = 255
"""Maximum length in characters of a job id, task name or queue name."""
MAX_KEY: Final = 1024
"""Maximum length in characters of an idempotency key."""
MAX_TOKEN: Final = 64
"""Maximum length in characters of a claim token or a fingerprint."""
MAX_AHEAD_MS: Final = 400 * 86_400_000
"""How far ahead a job may be scheduled: a little more than a year."""
MAX_WINDOW_SECONDS: Final = 400 * 86_400
"""Longest window of an idempotency key."""
MAX_TAGS: Final = 10
MAX_TAG: Final = 64
"""Maximum length in characters of a tag."""
MAX_COUNT: Final = 1_000_000
MAX_ATTEMPT: Final = 10**15
"""Largest attempt number in a message; a job that is released uncharged for years may exceed a million attempts."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_TAG: Final = re.compile(r"[\w.:/=@+-]+", re.ASCII)


def text(value: Any, what: str, limit: int = MAX_ID) -> str:
    """Require text of 1 to ``limit`` characters, encodable as UTF-8 and without control characters."""
    if type(value) is str and 0 < len(value) <= limit and value[0] != " " and value.isprintable():
        return value  # the usual case, which needs no further check
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be text, not {type(value).__name__} ({value!r})")
    if not value.strip():
        raise InvalidInput(f"{what} is empty ({value!r}); give it a value")
    if len(value) > limit:
        raise InvalidInput(
            f"{what} has {len(value)} characters, at most {limit} are allowed: {value[:40]!r}...; shorten it"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"{what} holds a lone surrogate ({value!r}), which UTF-8 cannot carry; repair the text"
        ) from None
    if _CONTROL.search(value):
        raise InvalidInput(f"{what} holds a control character ({value!r}); remove it")
    return str.__str__(value)  # a plain str, made of an enum member or another subclass


def optional_text(value: Any, what: str, limit: int = MAX_ID) -> str:
    """Require text as `text` does, or no value (``None`` or ``""``), which is returned as ``""``."""
    return "" if value is None or value == "" else text(value, what, limit)


def tags(value: Any) -> tuple[str, ...]:
    """Require at most `MAX_TAGS` tags of ASCII letters, digits and ``_ . : / = @ + -``; repeated ones count once."""
    if value is None:
        return ()
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidInput(f"tags={value!r} must be a list of strings; write tags=[{value!r}]")
    words = tuple(value)
    for tag in words:
        if not isinstance(tag, str) or not _TAG.fullmatch(tag) or len(tag) > MAX_TAG:
            raise InvalidInput(
                f"tag {_short(tag)} must be text of 1 to {MAX_TAG} ASCII letters, digits and _ . : / = @ + -; write it "
                "like customer:42"
            )
    if len(unique := tuple(dict.fromkeys(words))) > MAX_TAGS:
        raise InvalidInput(f"{len(unique)} tags were given, at most {MAX_TAGS} are allowed; leave some out")
    return unique


def _short(value: Any) -> str:
    return repr(value)[: MAX_TAG + 16]


def positive(value: Any, what: str, most: float) -> float:
    """Require a number above 0 and not above ``most``; NaN is refused."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
        raise InvalidInput(f"{what}={value!r} must be a number above 0, at most {most:,}")
    return float(value)


def count(value: Any, what: str, *, least: int = 1, most: int = MAX_COUNT) -> int:
    """Require an integer of at least ``least`` and at most ``most``."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(f"{what}={value!r} must be a whole number from {least} to {most:,}")
    return int(value)


def moment(value: Any, what: str, now: int) -> int:
    """Require a time, in epoch milliseconds or as an aware datetime, at most 400 days ahead; ``None`` is now."""
    if value is None:
        return now
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidInput(
                f"{what}={value!r} has no time zone; use datetime.now(timezone.utc) or epoch milliseconds"
            )
        value = round(value.timestamp() * 1000)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInput(f"{what}={value!r} must be epoch milliseconds (a whole number) or an aware datetime")
    if value > now + MAX_AHEAD_MS:
        raise InvalidInput(f"{what}={value} is more than 400 days ahead; pass epoch milliseconds, not microseconds")
    return int(value)


def status(value: Any) -> JobStatus:
    """Require a job status, as a `JobStatus` or its name."""
    try:
        return JobStatus(value)
    except ValueError:
        raise IllegalTransition(
            f"{value!r} is not a job status; use one of {[str(known) for known in JobStatus]}"
        ) from None
