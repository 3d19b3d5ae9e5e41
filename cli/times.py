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


class _Parsed(Milliseconds):
    """A type whose text `parse` converts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse the text; refuse an invalid one and show why."""
        if isinstance(value, int):
            return value
        try:
            return self.parse(str(value), ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def parse(self, text: str, ctx: click.Context | None) -> int:
        """Convert the text, or raise `ValueError`."""
        raise NotImplementedError


class Duration(_Parsed):
    """A duration such as ``90``, ``10s``, ``5m``, ``2h`` or ``1d``, or plain seconds. Converts to milliseconds."""

    name = "duration"

    def parse(self, text: str, ctx: click.Context | None) -> int:
        """Parse a duration."""
        return duration(text)


class Moment(_Parsed):
    """A time in ISO 8601 with its time zone, without which its meaning depends on the machine. Converts to epoch
    milliseconds.
    """

    name = "time"

    def parse(self, text: str, ctx: click.Context | None) -> int:
        """Parse a time; one without a zone is refused."""
        return moment(text)


class Past(_Parsed):
    """A past time in UTC: ``2h ago``, ``yesterday`` or ``14:30``. Converts to epoch milliseconds."""

    name = "time"

    def parse(self, text: str, ctx: click.Context | None) -> int:
        """Parse a past time, relative to the session's clock."""
        return past(text, _now(ctx))


def _now(ctx: click.Context | None) -> int:
    session = ctx.find_object(Session) if ctx else None
    return (session or Session()).now()
