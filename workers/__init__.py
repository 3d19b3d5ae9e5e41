"""Celery on jobs: the app, the base classes of tasks, and what makes a worker survive SQS."""

from jobclaim.jobs.breaker import Breaker
from jobclaim.workers.app import app, create_app
from jobclaim.workers.bases import EmailTask, ExternalAPITask, IdempotentTask, MaintenanceTask, ReportTask
from jobclaim.workers.breaker import BreakerOpen, circuit_breaker
from jobclaim.workers.decorator import with_idempotency
from jobclaim.workers.task import JobTask

__all__ = [
    "Breaker",
    "BreakerOpen",
    "EmailTask",
    "ExternalAPITask",
    "IdempotentTask",
    "JobTask",
    "MaintenanceTask",
    "ReportTask",
    "app",
    "circuit_breaker",
    "create_app",
    "with_idempotency",
]
