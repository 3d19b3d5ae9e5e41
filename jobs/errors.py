"""All errors that jobclaim raises about jobs. Each message says what was wrong, with which value, and what to do."""

from __future__ import annotations

from typing import Any


class JobError(Exception):
    """Base class: something about a job was refused, and nothing was written."""


class InvalidInput(JobError, ValueError):
    """An argument cannot be part of a job: it is empty, too long, of the wrong type or out of range."""


class InvalidPayload(InvalidInput):
    """A payload or result that kombu's JSON cannot carry: a set, an object, keys that cannot become text."""


class PayloadTooLarge(InvalidPayload):
    """A payload or result that does not fit into a DynamoDB item."""


class InvalidEffect(InvalidInput):
    """A caller's write that DynamoDB cannot make in one transaction with the job's own."""


class EffectRefused(JobError):
    """DynamoDB refused one of the caller's writes, and so all of them and the job's own: nothing was changed.

    Attributes
    ----------
    table : str
        The table of the refused write, as the caller named it.
    key : dict
        What identifies its item, as the caller wrote it; for a put, the attributes that its condition refers to.
    operation : str
        ``Put``, ``Update``, ``Delete`` or ``ConditionCheck``.
    index : int
        Its index among the caller's writes, starting at 0.
    reason : str
        DynamoDB's code: ``ConditionalCheckFailed``, ``ValidationError``, ``ItemCollectionSizeLimitExceeded``, or
        ``AccessDenied`` and ``ResourceNotFound`` if the role has no access to the table or it does not exist.
    item : dict or None
        The current item, if the write asked for it: ``ReturnValuesOnConditionCheckFailure="ALL_OLD"``.
    failure_kind : FailureKind or str
        Empty, which counts as PERMANENT: the same writes would be refused again. CONFIGURATION if access or a table is
        missing. A task whose conditions may hold later sets ``failure_kinds = {EffectRefused: "TRANSIENT"}``.
    """

    def __init__(
        self,
        message: str,
        *,
        table: str = "",
        key: dict[str, Any] | None = None,
        operation: str = "",
        index: int = 0,
        reason: str = "",
        item: dict[str, Any] | None = None,
        failure_kind: str = "",
    ) -> None:
        super().__init__(message)
        self.table = table
        self.key = key or {}
        self.operation = operation
        self.index = index
        self.reason = reason
        self.item = item
        self.failure_kind = failure_kind


class AlreadySubmitted(JobError):
    """A submission in a transaction found an equal job, so nothing of the transaction was written.

    Attributes
    ----------
    jobs : tuple of Job
        The existing jobs, with their states and results.
    """

    def __init__(self, message: str, jobs: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.jobs = jobs


class JobNotFound(JobError, LookupError):
    """No job has this id: it was never created, or it is past its retention."""

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"no job has the id {job_id!r}: it was never created in this table, or its retention has passed; check "
            "the id and JOBCLAIM_JOB_TABLE"
        )
        self.job_id = job_id


class JobUnreadable(JobError):
    """A job's item cannot be read: another version of jobclaim, or a person, wrote it."""

    def __init__(self, job_id: str, attribute: str, error: BaseException) -> None:
        super().__init__(
            f"job {job_id!r} cannot be read: this version does not understand its attribute {attribute!r} "
            f"({type(error).__name__}); deploy the version that wrote it, or repair or delete the item"
        )
        self.job_id = job_id


class IllegalTransition(JobError):
    """The job is not in a state from which this move is allowed."""


class ClaimLost(JobError):
    """The fence refused a write: the claim under which it was made has ended. Nothing was changed."""


class NotClaimed(ClaimLost):
    """A write that requires a claim was made without one."""

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(
            f"job {job_id!r} cannot become {status}: this JobRepo holds no claim on it; call claim_job({job_id!r}) "
            "first, and update through the same JobRepo"
        )


class IdempotencyMismatch(JobError):
    """The same idempotency key was used with other arguments, or the same job id for another task."""


class CancelUnderWay(JobError):
    """The job that an equal call would return is being cancelled, so the call would get no result."""


class JobCancelled(JobError):
    """Raised in a body by ``check_cancelled()`` when cancellation was requested. The job ends CANCELLED."""


class OffloadLost(JobError):
    """A large payload or result that was written to S3 is missing, or differs from what was written."""


class StoreUnavailable(JobError):
    """DynamoDB did not answer in time, or refused for a reason unrelated to the job."""


class StepMismatch(JobError):
    """A step's name was used before in this run for another function or with other arguments."""


class WaitTimeout(JobError):
    """The job was not resumed before the deadline of its wait. Raised in the body, also in each later attempt."""


class ResumeRefused(JobError):
    """The job does not wait for that name, was resumed differently, or the token is wrong. Nothing was written."""


class WrongWaitToken(ResumeRefused):
    """A resume used a token that does not belong to that wait."""


class Suspended(BaseException):
    """Ends a body that waits without a worker; not an `Exception`, so that the body's own handlers do not catch it.

    `JobRepo.claimed` and `JobTask` handle it; no other code should.
    """
