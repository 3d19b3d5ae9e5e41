"""JSON log lines: one shape for our events and for those of Celery and every other library."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import structlog

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


def configure(settings: Settings) -> None:
    """Send every log line to standard error in one format, with the context of the running job."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _add_worker,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redaction.redact,
        *([metrics.Measuring(settings)] if settings.telemetry != "off" else []),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Any = structlog.processors.JSONRenderer()
    if settings.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.StreamHandler()
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
    root.setLevel(settings.log_level)
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)


def _add_worker(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    event.setdefault("worker", identity.worker_id())
    return event
