"""Loggers of jobclaim: events with fields, sent to standard ``logging`` or to structlog, whichever the program uses.

::

    structlog is configured (by the host, or by a worker's own log)   its processors and its output
    else                                                              logging.getLogger("jobclaim.…")

A program that configures neither gets warnings and errors on standard error, as with any library, and nothing on
standard output. In both cases a line's fields are masked first, as `jobclaim.jobs.redaction` defines, and a line that
cannot be written, because its stream is closed, never breaks the work that it is about.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, Final, Protocol
from weakref import WeakSet

import structlog
from structlog.contextvars import STRUCTLOG_KEY_PREFIX

from jobclaim.jobs import redaction
from jobclaim.jobs.events import EVENTS, JOB
from jobclaim.specs.visible import visible

Observer = Callable[[Any, str, dict[str, Any]], Any]
"""Called like a structlog processor with every event, written or not."""

Writer = Callable[[logging.Logger, int, str, dict[str, Any]], bool]
"""Called with the logger, the level, the event and the masked fields of a line; returns whether it was written."""

CALLER: Final = 4
"""Stack frames between the call of standard logging and the line of code that logs."""


class NamedApp(Protocol):
    """The app that log lines are about: one that jobclaim is installed on."""

    @property
    def name(self) -> str:
        """Name of the app, added to each of its lines if the process has several apps."""


_app: ContextVar[NamedApp | None] = ContextVar("app", default=None)
_apps: Final[WeakSet[Any]] = WeakSet()
_observers: Final[dict[str, tuple[NamedApp | None, Observer]]] = {}
_writers: Final[list[Writer]] = []
_PREFIX_LENGTH: Final = len(STRUCTLOG_KEY_PREFIX)


class Logger:
    """A logger of events: a line is a code, its message and its fields, as `jobclaim.jobs.events` registers them."""

    __slots__ = ("_lines", "_structured", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._lines = logging.getLogger(name)
        self._structured = structlog.wrap_logger(None, logger_factory_args=(name,))

    def debug(self, event: str, **fields: Any) -> None:
        """Log a detail that matters only to developers of jobclaim."""
        self._log(logging.DEBUG, "debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log a normal event."""
        self._log(logging.INFO, "info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log an event that may need attention."""
        self._log(logging.WARNING, "warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log an event that needs attention."""
        self._log(logging.ERROR, "error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Log an error with the frames of the exception that is being handled."""
        self._log(logging.ERROR, "error", event, {"exc_info": True, **fields})

    def _log(self, level: int, method: str, event: str, fields: dict[str, Any]) -> None:
        if _observers:
            _observe(self.name, method, event, fields)
        structured = structlog.is_configured()
        if not structured and not self._lines.isEnabledFor(level):
            return
        if len(_apps) > 1 and (app := _app.get()) is not None:
            fields.setdefault("app", app.name)
        redaction.mask(fields)
        try:
            if structured:
                redaction.shorten(fields)
                if _writers and _writers[0](self._lines, level, event, fields):
                    return
                getattr(self._structured, method)(event, **_message(event), **fields)
            else:
                self._write(level, event, fields)
        except (OSError, ValueError) as error:
            if not _is_closed_stream(error):
                raise

    def _write(self, level: int, event: str, fields: dict[str, Any]) -> None:
        context, error = bound_fields(), redaction.masked_exception(fields.pop("exc_info", None))
        shown: dict[str, Any] = {name: context[name] for name in JOB if name in context}
        shown.update(fields)
        line = ": ".join([event, *_message(event).values()])
        if shown:
            self._lines.log(level, f"{line} %s", Fields(shown), exc_info=error, extra=shown, stacklevel=CALLER)
        else:
            self._lines.log(level, line, exc_info=error, stacklevel=CALLER)


class Fields:
    """A line's fields in readable form; formatted only if a handler writes the line."""

    __slots__ = ("shown",)

    def __init__(self, shown: Mapping[str, Any]) -> None:
        self.shown = shown

    def __str__(self) -> str:
        """Format the fields as ``key=value`` pairs."""
        return " ".join(f"{name}={_shown(value)}" for name, value in self.shown.items())


def get_logger(name: str) -> Logger:
    """Return the logger of a part of jobclaim, ``jobclaim.…``."""
    return Logger(name)


def add_app(app: NamedApp) -> None:
    """Register an app of this process: once there are two, lines name the app that they are about."""
    _apps.add(app)


def speak_for(app: NamedApp) -> None:
    """Attribute the log lines of the rest of this context to an app, if the process has several."""
    _app.set(app)


@contextmanager
def speaking_for(app: NamedApp) -> Iterator[None]:
    """Attribute the block's log lines to an app, if the process has several."""
    token = _app.set(app)
    try:
        yield
    finally:
        _app.reset(token)


def observe(name: str, observer: Observer | None, app: NamedApp | None = None) -> None:
    """Call an observer with every event, whether or not its line is written; ``None`` removes the observer.

    Parameters
    ----------
    name : str
        Name of the observer; another one of the same name is replaced.
    app : NamedApp, optional
        Do not observe events of other apps.
    """
    if observer is None:
        _observers.pop(name, None)
    else:
        _observers[name] = (app, observer)


def write_directly(writer: Writer | None) -> None:
    """Offer every line to a writer before it goes to structlog; ``None`` removes the writer."""
    _writers[:] = [] if writer is None else [writer]


def bound_fields() -> dict[str, Any]:
    """Return the fields that are bound to the lines of this context.

    structlog's own function calls another one for each variable of the context, of which a job has a dozen.
    """
    return {
        variable.name[_PREFIX_LENGTH:]: value
        for variable, value in copy_context().items()
        if variable.name[:_PREFIX_LENGTH] == STRUCTLOG_KEY_PREFIX and value is not Ellipsis
    }


def _observe(logger: str, method: str, event: str, fields: dict[str, Any]) -> None:
    about = _app.get()
    line = {**bound_fields(), **fields, "event": event, "logger": logger}
    for app, observer in list(_observers.values()):
        if app is None or about is None or about is app:
            observer(None, method, line)


def _message(code: str) -> dict[str, str]:
    return {"message": EVENTS[code].message} if code in EVENTS else {}


def _shown(value: Any) -> str:
    text = visible(str(value))
    return text if text and not any(letter in text for letter in " \"'=\n") else repr(text)


def _is_closed_stream(error: Exception) -> bool:
    """Check whether the stream was closed: a program closes its streams before its exit handlers run."""
    return isinstance(error, BrokenPipeError) or "closed file" in str(error)
