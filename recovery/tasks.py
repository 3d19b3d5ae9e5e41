"""Recovery as a Celery task, for the beat schedule and its own queue."""

from __future__ import annotations

from functools import partial

from celery import Celery

from jobclaim.recovery.alerts import evaluate
from jobclaim.recovery.loop import log_report
from jobclaim.recovery.sweeping import sweep
from jobclaim.workers.submission.dispatch import publish


def run_pass(app: Celery) -> dict[str, int]:
    """Run one pass with the app's settings and log its report."""
    repo = app.jobclaim.repo
    report = sweep(repo, send=partial(publish, app))
    log_report(report)
    evaluate(repo)
    return report.counts()
