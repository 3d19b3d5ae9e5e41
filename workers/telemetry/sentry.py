"""Sentry, if the host uses it: one event per failure, grouped by the exception, and no more for its log lines.

Sentry makes an event of every error line. A failure has the exception, which Sentry's Celery integration reports, and
jobclaim's line, which has the job's id and so would be a new issue each time.

::

    "job failed", its exception is being handled       that exception, once
    "job failed" without an exception here             an event grouped by task and exception: a lost child, recovery
    jobclaim's other error lines                       grouped by their code
    Celery's on a child that was killed                dropped: its job's failure is reported

If the host does not use Sentry, nothing is imported or done.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

from celery._state import get_current_task

from jobclaim.jobs.redaction import OURS

FAILED: Final = "job.failed"
OF_BILLIARD: Final = "multiprocessing"
ENDED: Final = "Process %r pid:%r exited with %r"
HARD_LIMIT: Final = "Hard time limit (%ss) exceeded for %s[%s]"
OF_CELERY: Final = {OF_BILLIARD: ENDED, "celery.worker.request": HARD_LIMIT}
"""By logger, the line that a job's failure makes redundant."""


def adopt() -> None:
    """Filter what Sentry is about to send from this process; installed once, whenever Sentry is initialized."""
    scope: Any = sys.modules.get("sentry_sdk.scope")
    if scope is not None and process not in scope.global_event_processors:
        scope.add_global_event_processor(process)


def process(event: Any, hint: Mapping[str, Any] | None) -> Any:
    """Return a log line's event as it is to be sent, or ``None`` where another event already reports the same."""
    record = (hint or {}).get("log_record")
    if not isinstance(record, logging.LogRecord):
        return event
    if record.msg == OF_CELERY.get(record.name):
        return None
    if not record.name.startswith(OURS) or event.get("exception"):
        return event
    code, message, fields = _line(record)
    if code == FAILED:
        return _failure(event, fields)
    return {**event, "logentry": {"message": message}, "fingerprint": ["jobclaim", record.name, code], "extra": fields}


def _failure(event: Any, fields: Mapping[str, Any]) -> Any:
    task, name = str(fields.get("task")), str(fields.get("exception"))
    raised = sys.exc_info()[1]
    if raised is not None and type(raised).__name__ == name.rsplit(".", 1)[-1]:
        if not isinstance(raised, tuple(getattr(get_current_task(), "throws", ()) or ())):
            import sentry_sdk

            # not sent twice: Sentry drops an exception that Celery's integration has just reported
            sentry_sdk.capture_exception(raised)
        return None
    module, _, short = name.rpartition(".")
    return {
        **event,
        "exception": {"values": [{"type": short, "module": module or None, "value": f"{task} failed"}]},
        "fingerprint": ["jobclaim", task, name],
        "tags": {**event.get("tags", {}), "celery_task_id": fields.get("job_id"), "celery_task": task},
        "extra": dict(fields),
        "logentry": None,
    }


def _line(record: logging.LogRecord) -> tuple[str, str, dict[str, Any]]:
    """Read the code, the message and the fields of a jobclaim line, logged through structlog or standard logging."""
    if isinstance(record.msg, Mapping):
        fields = {name: value for name, value in record.msg.items() if name not in ("event", "message")}
        code = str(record.msg.get("event"))
        return code, f"{code}: {record.msg.get('message', '')}", fields
    args = record.args if isinstance(record.args, tuple) else ()
    line = str(record.msg).removesuffix(" %s")
    return line.split(":")[0], line, dict(getattr(args[0], "shown", {}) if args else {})
