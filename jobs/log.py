"""Log lines go where the program wants them: to structlog where it was configured, else to standard `logging`.

structlog by itself prints to standard output, where a program that only submits jobs has its own results. Under the
name ``jobclaim`` of `logging` a line is seen as soon as the program, or its framework, configures that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import structlog

NOT_FIELDS: Final = frozenset({"exc_info", "stack_info"})
"""What `logging` takes itself."""


class Log:
    """A logger with an event's name and its fields, as structlog's.

    Parameters
    ----------
    name : str
        Of the logger, ``jobclaim.`` and the component.
    """

    def __init__(self, name: str) -> None:
        self._plain = logging.getLogger(name)
        self._structured = structlog.get_logger(name)

    def debug(self, event: str, **fields: Any) -> None:
        """Tell what helps while a fault is looked for."""
        self._write("debug", logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Tell what happened."""
        self._write("info", logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Tell what may need somebody's attention."""
        self._write("warning", logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Tell what went wrong."""
        self._write("error", logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Tell what went wrong, with the exception that is being handled."""
        self._write("error", logging.ERROR, event, {"exc_info": True, **fields})

    def _write(self, method: str, level: int, event: str, fields: dict[str, Any]) -> None:
        if structlog.is_configured():
            getattr(self._structured, method)(event, **fields)
        elif self._plain.isEnabledFor(level):
            text, given = as_line(event, fields)
            self._plain.log(level, "%s", text, stacklevel=3, **given)  # an argument: a value may hold a percent sign


def as_line(event: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Write an event as a line of text; beside it what `logging` takes as arguments of its own."""
    given = {name: fields[name] for name in NOT_FIELDS & fields.keys()}
    shown = " ".join(f"{name}={value}" for name, value in fields.items() if name not in NOT_FIELDS)
    return f"{event} {shown}".rstrip(), given


def get_logger(name: str) -> Log:
    """Give the logger of a component."""
    return Log(name)
