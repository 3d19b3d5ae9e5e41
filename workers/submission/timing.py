"""When a call may start and until when: Celery's ``countdown``, ``eta`` and ``expires`` as epoch milliseconds."""

from __future__ import annotations

import math
from datetime import datetime, tzinfo
from typing import Any

from jobclaim.jobs import InvalidInput


def window(countdown: Any, eta: Any, expires: Any, now: int, zone: tzinfo) -> tuple[int | None, int | None]:
    """Return when a call may start and by when it must. Raises as `due_at`, and also if the call could never start."""
    due, until = due_at(countdown, eta, now, zone), start_by(expires, now, zone)
    if due is not None and until is not None and now < due >= until:
        argument = f"countdown={countdown!r}" if countdown is not None else f"eta={eta!r}"
        raise InvalidInput(f"expires={expires!r} is before {argument}, so the job could never start; pass a later time")
    return due, until


def due_at(countdown: Any, eta: Any, now: int, zone: tzinfo) -> int | None:
    """Return when a call may start, ``None`` for now. As in Celery, a countdown takes precedence over an ETA.

    Parameters
    ----------
    countdown : float, optional
        Seconds from now; a negative one means now.
    eta : datetime or str, optional
        A time; ISO 8601 if it is text (a call that was itself sent as JSON).
    now : int
        Epoch milliseconds.
    zone : tzinfo
        Zone of a time without one: the app's.

    Raises
    ------
    InvalidInput
    """
    if countdown is not None:
        return now + max(0, _milliseconds(countdown, "countdown"))
    return None if eta is None else _moment(eta, "eta", zone)


def start_by(expires: Any, now: int, zone: tzinfo) -> int | None:
    """Return by when a call must have started, from seconds or a time; ``None`` for no limit. Raises as `due_at`."""
    if expires is None:
        return None
    if isinstance(expires, (datetime, str)):
        return _moment(expires, "expires", zone)
    return max(1, now + _milliseconds(expires, "expires"))


def _milliseconds(seconds: Any, what: str) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        raise InvalidInput(f"{what}={seconds!r} must be a number of seconds")
    return round(seconds * 1000)


def _moment(value: Any, what: str, zone: tzinfo) -> int:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
        return round(aware.timestamp() * 1000)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{what}={value!r} must be a datetime, or ISO 8601 text: {error}") from None
