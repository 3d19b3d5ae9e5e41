"""Recovery as an AWS Lambda function on a schedule: one pass per invocation, its report logged and returned."""

from __future__ import annotations

from typing import Any

from jobclaim.jobs import Job


def handler(_event: Any, _context: Any) -> dict[str, int]:
    """Run one pass with the function's own settings (``JOBCLAIM_*``); safe beside any other pass.

    Raises
    ------
    StoreUnavailable
        DynamoDB did not answer: the invocation counts as failed, and the next one tries again.
    """
    from jobclaim.recovery.alerts import evaluate
    from jobclaim.recovery.loop import log_report
    from jobclaim.recovery.sweeping import sweep
    from jobclaim.workers.apps import default_app
    from jobclaim.workers.submission.dispatch import publish
    from jobclaim.workers.telemetry import logs

    app = default_app()

    def send(job: Job, delay_seconds: float) -> None:
        publish(app, job, delay_seconds)

    logs.configure(app.jobclaim.settings)
    report = sweep(app.jobclaim.repo, send=send)
    log_report(report)
    evaluate(app.jobclaim.repo)
    app.jobclaim.repo.flush()  # Lambda may end the process at any time after this
    return report.counts()
