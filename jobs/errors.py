"""Everything that can be refused. Each message says what was wrong, with which value, and what to do."""

from __future__ import annotations


class JobError(Exception):
    """Something about a job was refused; nothing was written."""


class InvalidInput(JobError, ValueError):
    """An argument cannot be part of a job: empty, too long, of the wrong type or out of range."""


class InvalidPayload(InvalidInput):
    """A payload or result that kombu's JSON cannot carry: a set, an object, keys that it cannot make text of."""


class PayloadTooLarge(InvalidPayload):
    """A payload or result that has no room in a DynamoDB item."""


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
