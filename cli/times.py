"""Parameter types for times on the command line: text in, milliseconds out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobclaim.cli.session import Session
from jobclaim.views.humane import duration, moment, past

if TYPE_CHECKING:
    Milliseconds = click.ParamType[int]
else:
    Milliseconds = click.ParamType  # `ParamType` is not generic in older releases of click


class Duration(Milliseconds):
    """A duration such as ``90``, ``10s``, ``5m``, ``2h`` or ``1d``, or plain seconds. Converts to milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse the text; refuse an invalid one and show examples."""
        if isinstance(value, int):
            return value
        try:
            return duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(Milliseconds):
    """A time in ISO 8601 with its time zone. Converts to epoch milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse the text; refuse a time without a zone, because its meaning depends on the machine."""
        if isinstance(value, int):
            return value
        try:
            return moment(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Past(Milliseconds):
    """A past time in UTC: ``2h ago``, ``yesterday`` or ``14:30``. Converts to epoch milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse the text; refuse an invalid one and show examples."""
        if isinstance(value, int):
            return value
        try:
            return past(str(value), _now(ctx))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _now(ctx: click.Context | None) -> int:
    session = ctx.find_object(Session) if ctx else None
    return (session or Session()).now()
