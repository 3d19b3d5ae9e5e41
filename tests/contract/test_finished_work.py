"""The last write of an attempt is tried again, whatever AWS says that may pass, until the lease ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from structlog.testing import capture_logs

from jobclaim.jobs import Job, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.failures.aws_codes import ACCESS, THROTTLES
from tests.contract.stores import LossyClient, Store, complete_as_planned

CODES = [
    "TransactionConflictException",
    "TransactionInProgressException",
    "AccessDeniedException",
    "ExpiredTokenException",
    "ExpiredToken",
    "RequestTimeout",
    "RequestTimeoutException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "KMSThrottlingException",
    "KMSAccessDeniedException",
    "LimitExceededException",
    "ThrottlingException",
    "ReplicatedWriteConflictException",
    "ResourceNotFoundException",
    "SerializationException",
    "InvalidToken",
    "403",  # a page of a proxy, which names no code
    "429",
]
LOUD = "aws.failing"
ENDS: dict[str, Callable[[JobRepo, Job], Job]] = {
    "complete": lambda repo, job: repo.update_status(job.job_id, "COMPLETED", result=[1], token=job.claim_token),
    "complete as planned": complete_as_planned,
    "fail": lambda repo, job: repo.update_status(job.job_id, "FAILED", error="no", token=job.claim_token),
    "stop": lambda repo, job: repo.update_status(job.job_id, "CANCELLED", token=job.claim_token),
    "retry": lambda repo, job: repo.reschedule(job.job_id, error="busy", token=job.claim_token),
    "release": lambda repo, job: repo.release(job.job_id, reason="stop", token=job.claim_token),
}


def refusal(code: str) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "because"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(cast("Any", answer), "UpdateItem")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("code", CODES)
def test_finished_work_outlives_an_error_that_may_pass(store: Store, code: str, end: str) -> None:
    _, claim = store.claimed()
    line = LossyClient(store.line, arrives=False, times=20, error=lambda: refusal(code))

    with capture_logs() as lines:
        ended = ENDS[end](store.repo(line), claim)

    assert store.repo().get_job(claim.job_id) == ended
    assert store.clock() < claim.lease_expires_at
    told = [line for line in lines if line["event"] == LOUD]
    assert told, "an operator has minutes to mend it"
    assert all(code in line["reason"] and line["log_level"] == "error" for line in told)
    assert len(told) < 5


@pytest.mark.parametrize("end", ["complete", "complete as planned"])
def test_it_is_tried_until_the_lease_ends_and_no_longer(store: Store, end: str) -> None:
    _, claim = store.claimed()
    line = LossyClient(store.line, arrives=False, times=10_000, error=lambda: refusal("AccessDeniedException"))

    with pytest.raises(StoreUnavailable, match="AccessDenied"):
        ENDS[end](store.repo(line), claim)

    assert store.clock() == claim.lease_expires_at
    assert line.writes > 100


@pytest.mark.parametrize("code", ["ValidationException", "ItemCollectionSizeLimitExceededException"])
def test_an_error_that_cannot_pass_is_told_at_once(store: Store, code: str) -> None:
    _, claim = store.claimed()
    line = LossyClient(store.line, arrives=False, times=10_000, error=lambda: refusal(code))

    with pytest.raises(StoreUnavailable, match=code):
        ENDS["complete"](store.repo(line), claim)

    assert line.writes == 1


def test_a_short_failure_makes_no_noise(store: Store) -> None:
    _, claim = store.claimed()
    line = LossyClient(store.line, arrives=False, error=lambda: refusal("TransactionConflictException"))

    with capture_logs() as lines:
        ENDS["complete"](store.repo(line), claim)

    assert LOUD not in [line["event"] for line in lines]


# --- what goes to S3 before it
class LossyBucket:
    """An S3 client whose first uploads are refused."""

    def __init__(self, client: Any, code: str, times: int) -> None:
        self._client, self._code, self.left = client, code, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **request: Any) -> Any:
        if self.left > 0:
            self.left -= 1
            raise refusal(self._code)
        return self._client.put_object(**request)


@pytest.fixture
def bucket() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="large", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield client


@pytest.mark.parametrize(
    "code", ["SlowDown", "AccessDenied", "ExpiredToken", "RequestTimeTooSkewed", "TokenRefreshRequired"]
)
def test_a_large_result_outlives_them_too(store: Store, bucket: Any, code: str) -> None:
    store.settings = store.settings.model_copy(update={"bucket": "large", "max_result_bytes": 10})
    _, claim = store.claimed()
    repo = store.repo()
    line = LossyBucket(bucket, code, 20)
    repo.large._client = lambda: line

    done = repo.update_status(claim.job_id, "COMPLETED", result="x" * 50, token=claim.claim_token)

    assert (done.status, line.left) == (JobStatus.COMPLETED, 0)
    assert repo.get_job(claim.job_id).result == "x" * 50


def test_no_code_is_both_a_throttle_and_a_refusal_of_access() -> None:
    assert not THROTTLES & ACCESS
