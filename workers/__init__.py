"""Celery on jobs: the app, the base classes of tasks, and what makes a worker survive SQS."""

from jobs.breaker import Breaker
from workers.app import app, create_app
from workers.bases import EmailTask, ExternalAPITask, IdempotentTask, MaintenanceTask, ReportTask
from workers.breaker import BreakerOpen, circuit_breaker
from workers.decorator import with_idempotency
from workers.task import JobTask

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
