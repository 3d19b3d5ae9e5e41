"""Everything that can be refused. Each message says what was wrong, with which value, and what to do."""

from __future__ import annotations

from typing import Any


class JobError(Exception):
    """Something about a job was refused; nothing was written."""


class InvalidInput(JobError, ValueError):
    """An argument cannot be part of a job: empty, too long, of the wrong type or out of range."""


class InvalidPayload(InvalidInput):
    """A payload or result that kombu's JSON cannot carry: a set, an object, keys that it cannot make text of."""


class PayloadTooLarge(InvalidPayload):
    """A payload or result that has no room in a DynamoDB item."""


class InvalidEffect(InvalidInput):
    """A write of the caller's that no transaction of DynamoDB's can make beside the job's own."""


class EffectRefused(JobError):
    """DynamoDB refused one of the caller's writes, and so all of them and the job's own: nothing was changed.

    Attributes
    ----------
    table : str
        The table of the refused write, as the caller named it.
    key : dict
        What names its item, as the caller wrote it; of a put, the attributes that its condition asks for.
    operation : str
        ``Put``, ``Update``, ``Delete`` or ``ConditionCheck``.
    index : int
        Its place among the caller's writes, 0 for the first.
    reason : str
        DynamoDB's code: ``ConditionalCheckFailed``, ``ValidationError``, ``ItemCollectionSizeLimitExceeded``, or
        ``AccessDenied`` and ``ResourceNotFound`` where the table is not this role's, or not there.
    item : dict or None
        The item as it stands, where the write asked for it: ``ReturnValuesOnConditionCheckFailure="ALL_OLD"``.
    failure_kind : FailureKind or str
        Empty, which counts as PERMANENT: the same writes would be refused again. CONFIGURATION where access or a table
        is missing. A task whose conditions may hold later says ``failure_kinds = {EffectRefused: "TRANSIENT"}``.
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
    """A submission in a transaction found an equal job, so nothing of the transaction was written: it was before.

    Attributes
    ----------
    jobs : tuple of Job
        The jobs that are there, with their states and results.
    """

    def __init__(self, message: str, jobs: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.jobs = jobs


class JobNotFound(JobError, LookupError):
    """No job has this id: it was never created, or its retention is over."""

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"no job has the id {job_id!r}: it was never created in this table, or its retention is over; "
            "check the id and JOBCLAIM_JOB_TABLE"
        )
        self.job_id = job_id


class JobUnreadable(JobError):
    """A job's item is not understood: another version of jobclaim wrote it, or somebody by hand."""

    def __init__(self, job_id: str, attribute: str, error: BaseException) -> None:
        super().__init__(
            f"job {job_id!r} cannot be read: this version does not understand its attribute {attribute!r} "
            f"({type(error).__name__}); deploy the version that wrote it, or repair or delete the item"
        )
        self.job_id = job_id


class IllegalTransition(JobError):
    """The job is not in a state from which this move is allowed."""


class ClaimLost(JobError):
    """A write was refused by the fence: the claim it was made under is over. Nothing was changed."""


class NotClaimed(ClaimLost):
    """A write that only a claim's owner may make, without a claim."""

    def __init__(self, job_id: str, wanted: str) -> None:
        super().__init__(
            f"job {job_id!r} cannot become {wanted}: this JobRepo holds no claim on it; call claim_job({job_id!r}) "
            "first, and update through the same JobRepo"
        )


class IdempotencyMismatch(JobError):
    """The same idempotency key was used for other arguments, or the same job id for another task."""


class CancelUnderWay(JobError):
    """The job that would answer an equal call is about to end as cancelled: the call would get no result."""


class JobCancelled(JobError):
    """Raised in a body by ``check_cancelled()``: a person wants its job to end. The job ends CANCELLED."""


class OffloadLost(JobError):
    """A large payload or result that was written to S3 is gone, or is not what was written."""


class StoreUnavailable(JobError):
    """DynamoDB did not answer in time, or refused for a reason that has nothing to do with the job."""


class StepMismatch(JobError):
    """A step's name was used before in this run, for another function or with other arguments."""


class WaitTimeout(JobError):
    """Nobody resumed the job before the deadline of its wait. Raised in the body, again in each later attempt."""


class ResumeRefused(JobError):
    """The job does not wait for that name, was resumed otherwise, or the token is wrong. Nothing was written."""


class WrongWaitToken(ResumeRefused):
    """A resume came with a token that is not the one of that wait."""


class Suspended(BaseException):
    """Ends a body that waits without a worker; not an `Exception`, so that no handler of the body's own takes it.

    `JobRepo.claimed` and `JobTask` handle it; nothing else should.
    """
