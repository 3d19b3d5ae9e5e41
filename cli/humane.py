"""Times as people write them on a command line. Text in, epoch milliseconds out."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

import click

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


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
