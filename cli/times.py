"""Times as people write them on a command line. Text in, epoch milliseconds out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobclaim.views.humane import duration, moment

if TYPE_CHECKING:
    Milliseconds = click.ParamType[int]
else:
    Milliseconds = click.ParamType  # older releases of click know no type of it


class Duration(Milliseconds):
    """A duration such as ``90``, ``10s``, ``5m``, ``2h`` or ``1d``; a bare number means seconds. Gives milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text, or refuse it with examples."""
        if isinstance(value, int):
            return value
        try:
            return duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(Milliseconds):
    """A moment in ISO 8601 with its time zone. Gives epoch milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text; a time without a zone is refused, because it means another moment on every machine."""
        if isinstance(value, int):
            return value
        try:
            return moment(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
