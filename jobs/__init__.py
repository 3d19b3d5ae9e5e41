"""The job: its model, its legal moves and its store. Independent of Celery; users' code imports from here."""

from jobclaim.jobs.effects.collected import Effects
from jobclaim.jobs.errors import (
    AlreadySubmitted,
    CancelUnderWay,
    ClaimLost,
    EffectRefused,
    IdempotencyMismatch,
    IllegalTransition,
    InvalidEffect,
    InvalidInput,
    InvalidPayload,
    JobCancelled,
    JobError,
    JobNotFound,
    JobUnreadable,
    NotClaimed,
    OffloadLost,
    PayloadTooLarge,
    ResumeRefused,
    StepMismatch,
    StoreUnavailable,
    Suspended,
    WaitTimeout,
    WrongWaitToken,
)
from jobclaim.jobs.failures.hooks import on_dead, on_failure
from jobclaim.jobs.failures.retry import RetryDecision, RetryPolicy, RetryRule
from jobclaim.jobs.failures.taxonomy import classify, register_kind
from jobclaim.jobs.idempotency import IdempotencyService
from jobclaim.jobs.model import Attempt, Failure, FailureKind, Job, JobStatus, Page
from jobclaim.jobs.repo import JobRepo

SKIPPED = {"status": "SKIPPED"}
"""Return value of a task whose claim was refused: another delivery has the job, which is normal."""

__all__ = [
    "SKIPPED",
    "AlreadySubmitted",
    "Attempt",
    "CancelUnderWay",
    "ClaimLost",
    "EffectRefused",
    "Effects",
    "Failure",
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
    "JobUnreadable",
    "NotClaimed",
    "OffloadLost",
    "Page",
    "PayloadTooLarge",
    "ResumeRefused",
    "RetryDecision",
    "RetryPolicy",
    "RetryRule",
    "StepMismatch",
    "StoreUnavailable",
    "Suspended",
    "WaitTimeout",
    "WrongWaitToken",
    "classify",
    "on_dead",
    "on_failure",
    "register_kind",
]
