"""Job claiming for Celery on AWS: SQS carries the message, DynamoDB holds the job.

This is the public API. Each name is imported on first access, so ``import jobclaim`` does not read the environment and
does not touch Celery's state.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # type checkers know the name; importing `typing` would dominate the cost of this import
if TYPE_CHECKING:
    from typing import Any, Final

    from celery import Celery

    from jobclaim.infra.local import local_aws
    from jobclaim.infra.provisioning import provision
    from jobclaim.jobs import (
        SKIPPED,
        AlreadySubmitted,
        CancelUnderWay,
        ClaimLost,
        EffectRefused,
        Effects,
        FailureKind,
        IdempotencyMismatch,
        IdempotencyService,
        IllegalTransition,
        InvalidEffect,
        InvalidInput,
        InvalidPayload,
        Job,
        JobCancelled,
        JobError,
        JobNotFound,
        JobRepo,
        JobStatus,
        NotClaimed,
        OffloadLost,
        PayloadTooLarge,
        ResumeRefused,
        RetryPolicy,
        RetryRule,
        StepMismatch,
        StoreUnavailable,
        WaitTimeout,
        on_dead,
        on_failure,
        register_kind,
    )
    from jobclaim.recovery.sweeping import sweep
    from jobclaim.settings import QueueSpec, ScheduleSpec, Settings, TaskSpec
    from jobclaim.workers import (
        BreakerOpen,
        EmailTask,
        ExternalAPITask,
        Handle,
        IdempotentTask,
        JobTask,
        MaintenanceTask,
        NotInstalled,
        ReportTask,
        check_cancelled,
        circuit_breaker,
        install,
        transaction,
        with_idempotency,
    )

    app: Celery

_HOMES: Final = {
    "jobclaim.infra.local": ("local_aws",),
    "jobclaim.infra.provisioning": ("provision",),
    "jobclaim.jobs": (
        "SKIPPED",
        "AlreadySubmitted",
        "CancelUnderWay",
        "ClaimLost",
        "EffectRefused",
        "Effects",
        "FailureKind",
        "IdempotencyMismatch",
        "IdempotencyService",
        "IllegalTransition",
        "InvalidEffect",
        "InvalidInput",
        "InvalidPayload",
        "Job",
        "JobCancelled",
        "JobError",
        "JobNotFound",
        "JobRepo",
        "JobStatus",
        "NotClaimed",
        "OffloadLost",
        "PayloadTooLarge",
        "ResumeRefused",
        "RetryPolicy",
        "RetryRule",
        "StepMismatch",
        "StoreUnavailable",
        "WaitTimeout",
        "on_dead",
        "on_failure",
        "register_kind",
    ),
    "jobclaim.recovery.sweeping": ("sweep",),
    "jobclaim.settings": ("QueueSpec", "ScheduleSpec", "Settings", "TaskSpec"),
    "jobclaim.workers": (
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
        "install",
        "transaction",
        "with_idempotency",
    ),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "SKIPPED",
    "AlreadySubmitted",
    "BreakerOpen",
    "CancelUnderWay",
    "ClaimLost",
    "EffectRefused",
    "Effects",
    "EmailTask",
    "ExternalAPITask",
    "FailureKind",
    "Handle",
    "IdempotencyMismatch",
    "IdempotencyService",
    "IdempotentTask",
    "IllegalTransition",
    "InvalidEffect",
    "InvalidInput",
    "InvalidPayload",
    "Job",
    "JobCancelled",
    "JobError",
    "JobNotFound",
    "JobRepo",
    "JobStatus",
    "JobTask",
    "MaintenanceTask",
    "NotClaimed",
    "NotInstalled",
    "OffloadLost",
    "PayloadTooLarge",
    "QueueSpec",
    "ReportTask",
    "ResumeRefused",
    "RetryPolicy",
    "RetryRule",
    "ScheduleSpec",
    "Settings",
    "StepMismatch",
    "StoreUnavailable",
    "TaskSpec",
    "WaitTimeout",
    "check_cancelled",
    "circuit_breaker",
    "install",
    "local_aws",
    "on_dead",
    "on_failure",
    "provision",
    "register_kind",
    "sweep",
    "transaction",
    "with_idempotency",
]


if not TYPE_CHECKING:  # type checkers still reject names that do not exist

    def __getattr__(name: str) -> Any:
        if name == "app":  # the name that ``celery -A jobclaim`` loads
            return import_module("jobclaim.workers.apps").default_app()
        if (module := _HOME_OF.get(name)) is None:
            raise AttributeError(f"module 'jobclaim' has no attribute {name!r}")
        found = getattr(import_module(module), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
