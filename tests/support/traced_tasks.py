"""Tasks whose traces are looked at."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import shared_task

from jobclaim.workers import JobTask
from tests.support.tasks import leave_evidence


@shared_task(base=JobTask, bind=True, name="tests.traced", on_orphan="retry", max_retries=5)
def traced(self: Any) -> str:
    """Fail and retry, then be killed, then succeed, with a span of the body's own."""
    leave_evidence(self)
    attempt = self.request.job.attempt
    if attempt == 1:
        raise self.retry(exc=ConnectionError("away"), countdown=0)
    if attempt == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    from jobclaim.workers.telemetry import traces

    with traces._tracer(self.app.jobclaim.settings).start_as_current_span("body's own"):
        return "done"
