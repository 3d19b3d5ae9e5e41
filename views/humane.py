"""Times as people read them: epoch milliseconds in, text out. Pure functions."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(at: int) -> str | None:
    """Write a moment as ISO 8601 in UTC with milliseconds; ``None`` for 0, which means that it has not happened."""
    if not at:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock_time(at: int) -> str:
    """Write a moment for a table: date and time in UTC, to the second."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else "-"


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
    """Write a moment as seen from now: ``12 s ago``, ``in 3 min``, ``-`` where it has not happened."""
    if not at:
        return "-"
    return f"{span(now - at)} ago" if at <= now else f"in {span(at - now)}"
