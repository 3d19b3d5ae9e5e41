"""Times as people read and write them. Epoch milliseconds in, text out, and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import click

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


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


class Duration(click.ParamType[int]):
    """A duration such as ``90``, ``10s``, ``5m``, ``2h`` or ``1d``; a bare number means seconds. Gives milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text, or refuse it with examples."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", str(value))
        if not found:
            self.fail(f"{value!r} is no duration; write 90, 10s, 5m, 2h or 1d", param, ctx)
        return round(float(found[1]) * _UNITS[found[2] or "s"])


class Moment(click.ParamType[int]):
    """A moment in ISO 8601 with its time zone. Gives epoch milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text; a time without a zone is refused, because it means another moment on every machine."""
        if isinstance(value, int):
            return value
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 time; write 2030-01-31T08:00:00Z", param, ctx)
        if at.tzinfo is None:
            self.fail(f"{value!r} has no time zone; write {value}Z for UTC, or an offset such as +02:00", param, ctx)
        return round(at.timestamp() * 1000)
