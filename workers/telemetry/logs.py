"""JSON log lines: one shape for our events and for those of Celery and every other library."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import click
import structlog
from celery import signals
from celery.app.log import Logging
from celery.utils.log import mlevel
from celery.utils.nodenames import node_format

from jobclaim.jobs.log import as_line
from jobclaim.settings import Settings
from jobclaim.workers import identity
from jobclaim.workers.telemetry import metrics, redaction

QUIET: Final = {
    # one line per message that says less than ours, and the results of tasks in clear text
    "celery.app.trace": logging.CRITICAL,
    "celery.worker.strategy": logging.WARNING,
    "botocore": logging.WARNING,
    "urllib3": logging.WARNING,
}

OF_THE_RECORD: Final = frozenset({"event", "level", "logger", "timestamp"})


class WorkerLogging(Logging):
    """Set up the log of a worker or a beat in our format, unless the host connected a ``setup_logging`` handler."""

    def setup_logging_subsystem(
        self, loglevel: int | str | None = None, logfile: str | None = None, hostname: str | None = None, **options: Any
    ) -> Any:
        """Configure once per process, with ``--loglevel`` and ``--logfile`` where they are given."""
        if self.already_setup or signals.setup_logging.receivers:
            receivers = super().setup_logging_subsystem(loglevel, logfile, hostname=hostname, **options)
            follow(self.app.jobclaim.settings)
            return receivers
        Logging._setup = True
        wanted = mlevel(loglevel) if loglevel and _is_asked_for("loglevel") else None
        configure(self.app.jobclaim.settings, level=wanted, file=node_format(logfile, hostname) if logfile else None)
        return True


def _is_asked_for(option: str) -> bool:
    """Whether an option of Celery's command line was typed: its default level is not the one of settings."""
    context = click.get_current_context(silent=True)
    return context is None or context.get_parameter_source(option) is not click.core.ParameterSource.DEFAULT


def follow(settings: Settings) -> None:
    """Send our lines to the handlers that the host has set up, measured; a structlog of the host's own stays."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[*_shared(settings), _as_record],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def configure(settings: Settings, level: int | None = None, file: str | None = None) -> None:
    """Send every log line to standard error, or a file, in one format, with the context of the running job."""
    shared = _shared(settings)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Any = structlog.processors.JSONRenderer()
    if settings.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.FileHandler(file) if file else logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=())],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level or settings.log_level)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(least)


def _shared(settings: Settings) -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _add_worker,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redaction.redact,
        *([metrics.Measuring(settings)] if settings.telemetry != "off" else []),
    ]


def _as_record(_: Any, __: str, event: MutableMapping[str, Any]) -> tuple[tuple[str, str], dict[str, Any]]:
    """Make a line of `logging` of an event: time, level and logger's name are the host's format to show."""
    fields = {name: value for name, value in event.items() if name not in OF_THE_RECORD}
    text, given = as_line(str(event["event"]), fields)
    return ("%s", text), given


def _add_worker(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    event.setdefault("worker", identity.worker_id())
    return event
