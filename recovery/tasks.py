"""Recovery as a Celery task, for the beat schedule and its own queue."""

from __future__ import annotations

from celery import Task, shared_task

from jobclaim.jobs import Job
from jobclaim.recovery.alerts import evaluate
from jobclaim.recovery.loop import log_report
from jobclaim.recovery.sweep import sweep
from jobclaim.workers.submission.dispatch import publish


@shared_task(name="jobclaim.recovery.sweep", base=Task, bind=True, ignore_result=True)
def sweep_once(task: Task) -> dict[str, int]:
    """Run one pass with the app's settings and log its report.

    A plain task, not a job: it needs no claim, because passes are safe in parallel with each other, and it must not
    depend on what it repairs.
    """

    def send(job: Job, delay_seconds: float) -> None:
        publish(task.app, job, delay_seconds)

    report = sweep(task.app.jobclaim.repo, send=send)
    log_report(report)
    evaluate(task.app.jobclaim.repo)
    return report.counts()
