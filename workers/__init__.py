"""Celery on jobs: the app, the base classes of tasks, and a worker that survives SQS's errors."""

from jobclaim.fleet.breaker import Breaker
from jobclaim.workers.apps import create_app
from jobclaim.workers.attempt.checking import check_cancelled
from jobclaim.workers.bases import EmailTask, ExternalAPITask, IdempotentTask, MaintenanceTask, ReportTask
from jobclaim.workers.decorator import with_idempotency
from jobclaim.workers.guarded import BreakerOpen, circuit_breaker
from jobclaim.workers.handle import Handle, NotInstalled
from jobclaim.workers.installation import install
from jobclaim.workers.submission.transaction import transaction
from jobclaim.workers.task import JobTask

__all__ = [
    "Breaker",
    "BreakerOpen",
    "EmailTask",
    "ExternalAPITask",
    "Handle",
    "IdempotentTask",
    "JobTask",
    "MaintenanceTask",
    "NotInstalled",
    "ReportTask",
    "check_cancelled",
    "circuit_breaker",
    "create_app",
    "install",
    "transaction",
    "with_idempotency",
]
