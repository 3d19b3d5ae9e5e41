"""Human-readable times: format epoch milliseconds as text, and parse them back. Pure functions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def iso(at: int) -> str | None:
    """Write a moment as ISO 8601 in UTC with milliseconds; ``None`` for 0, which means not yet."""
    if not at:
        return None
    return _moment(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def times(moments: dict[str, int]) -> dict[str, Any]:
    """Return each moment twice, for a record: as ISO 8601 under its name, and in milliseconds with ``_ms`` added."""
    shown: dict[str, Any] = {}
    for name, at in moments.items():
        shown[name] = iso(at)
        shown[f"{name}_ms"] = at or None
    return shown


def clock_time(at: int) -> str:
    """Write a moment for a table: date and time in UTC, to the second."""
    return _moment(at).strftime("%Y-%m-%d %H:%M:%SZ") if at else "-"


def clock_minute(at: int) -> str:
    """Write the time of day of a moment in UTC, to the minute."""
    return _moment(at).strftime("%H:%M")


def percent(share: float) -> str:
    """Write a share in percent, below ten with a digit after the point: ``0.4 %``, ``12 %``."""
    return f"{100 * share:.1f} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def _moment(at: int) -> datetime:
    """Convert epoch milliseconds; clamp times beyond the year 9999 to its end."""
    from jobclaim.jobs.encoding.item import LATEST_MS  # here, because ``--help`` must not import the jobs

    return datetime.fromtimestamp(min(at, LATEST_MS) / 1000, UTC)


def span(milliseconds: int) -> str:
    """Write a duration in its two largest units: ``850 ms``, ``12 s``, ``3 min 20 s``, ``2 d 4 h``."""
    if milliseconds < 1_000:
        return f"{max(0, milliseconds)} ms"
    if milliseconds < 10_000:
        return f"{milliseconds / 1000:.1f} s"
    seconds = milliseconds // 1000
    for size, name, below, below_name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // below
            return f"{seconds // size} {name} {rest} {below_name}" if rest else f"{seconds // size} {name}"
    return f"{seconds} s"


def relative(at: int, now: int) -> str:
    """Write a moment relative to now: ``12 s ago``, ``in 3 min``, or ``-`` for not yet."""
    if not at:
        return "-"
    return f"{span(now - at)} ago" if at <= now else f"in {span(at - now)}"


def duration(text: str) -> int:
    """Read ``90``, ``10s``, ``5m``, ``2h`` or ``1d``; a bare number means seconds. Returns milliseconds.

    Raises
    ------
    ValueError
    """
    found = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)?\s*", text, re.ASCII)
    if not found:
        raise ValueError(f"{text!r} is not a duration; write 90, 10s, 5m, 2h or 1d")
    return round(float(found[1]) * _UNITS[found[2] or "s"])


def moment(text: str) -> int:
    """Read a time in ISO 8601; refuse one without a zone, because its meaning depends on the machine.

    Returns epoch milliseconds.

    Raises
    ------
    ValueError
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an ISO 8601 time; write 2030-01-31T08:00:00Z") from None
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write {text}Z for UTC, or an offset such as +02:00")
    return round(at.timestamp() * 1000)


def past(text: str, now: int) -> int:
    """Read a past time as people write it; without an offset it is UTC. Returns epoch milliseconds.

    ``90``, ``10m``, ``2h ago``, ``now``, ``today``, ``yesterday``, ``yesterday 14:30``, ``14:30`` (the latest one),
    ``2030-01-31``, or ISO 8601.

    Raises
    ------
    ValueError
    """
    words = text.strip().lower()
    day = _moment(now).replace(hour=0, minute=0, second=0, microsecond=0)
    date, _, clock = words.partition(" ")
    if date in _DAYS:
        at = _on(day - timedelta(days=_DAYS[date]), clock.strip() or "00:00")
    elif words == "now":
        at = _moment(now)
    elif (at := _on(day, words)) is None:
        return _earlier(text, words, now)
    elif at > _moment(now):
        at -= timedelta(days=1)
    if at is None:
        raise ValueError(f"{text!r} is not a time; {_PAST}")
    return round(at.timestamp() * 1000)


def _on(day: datetime, clock: str) -> datetime | None:
    """Return a time of the day, ``14:30`` or ``14:30:05``; ``None`` for anything else."""
    found = re.fullmatch(r"(\d{1,2}):(\d\d)(?::(\d\d))?", clock, re.ASCII)
    hour, minute, second = (int(part or 0) for part in found.groups()) if found else (24, 0, 0)
    return day.replace(hour=hour, minute=minute, second=second) if hour < 24 and max(minute, second) < 60 else None


def _earlier(text: str, words: str, now: int) -> int:
    """Read a duration before now, such as ``5m ago``, or a time in ISO 8601."""
    try:
        return max(0, now - duration(words.removesuffix("ago")))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text.strip())
        return max(0, round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time; {_PAST}") from None


_DAYS: Final = {"today": 0, "yesterday": 1}
_PAST: Final = (
    "write 10m, 2h ago, yesterday, 14:30, 2030-01-31 or 2030-01-31T08:00:00+02:00; without an offset it is UTC"
)
