"""What a transaction of jobs' and a caller's writes sends, and what each of DynamoDB's refusals becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from jobclaim.jobs import EffectRefused, FailureKind, InvalidEffect, Job, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.effects.write import Write, make
from jobclaim.jobs.encoding.item import attribute, to_attributes
from jobclaim.jobs.storage.together import PASSING, Planned, write_together
from jobclaim.jobs.storage.written import Written
from jobclaim.jobs.transitions import Move
from tests.simulation.client import ModelClient
from tests.support.clock import ManualClock
from tests.support.recovery import bench_settings, no_wait

SETTINGS = bench_settings(job_table="jobs", fleet_table="fleet")
AUDIT = f"{SETTINGS.job_table}-audit"
ARN = "arn:aws:dynamodb:eu-west-1:1:table/"
FAILED = "ConditionalCheckFailed"
TOKEN_LIMIT = 36
"""Characters of a ClientRequestToken at most (AWS, "TransactWriteItems")."""
LOST = ReadTimeoutError(endpoint_url="http://dynamodb")


class Line:
    """A client whose transactions are answered by a script, and by the model once that has ended.

    Parameters
    ----------
    answers
        Exceptions that transactions raise, one after the other.
    """

    def __init__(self, clock: ManualClock, *answers: Exception) -> None:
        self._client = ModelClient(clock)
        self._client.make_tables(SETTINGS.job_table, SETTINGS.fleet_table)
        for name in ("ledger", "stock"):
            self._client.make_table(name, "id")
        self.answers = list(answers)
        self.sent: list[dict[str, Any]] = []
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_item(self, **request: Any) -> Any:
        self.reads += 1
        return self._client.get_item(**request)

    def transact_write_items(self, **request: Any) -> Any:
        self.sent.append(request)
        if self.answers:
            raise self.answers.pop(0)
        return self._client.transact_write_items(**request)

    def store(self, *jobs: Job) -> None:
        for job in jobs:
            self._client.put_item(TableName=SETTINGS.job_table, Item=item_of(job))


def item_of(job: Job) -> dict[str, Any]:
    return {name: attribute(value) for name, value in to_attributes(job).items()}


def a_job(name: str, submission: str = "mine") -> Job:
    return Job(job_id=name, task="t", queue="default", status=JobStatus.PENDING, submission=submission)


A, B = a_job("a"), a_job("b")
OTHERS = replace(B, submission="another's")


def put(table: str = "ledger", name: str = "1", **more: Any) -> Write:
    return make("Put", {"TableName": table, "Item": {"id": name}, **more})


PUT = put(ConditionExpression="attribute_not_exists(id)")
TYPED = make("Delete", {"TableName": "ledger", "Key": {"id": {"S": "1"}}})


def written(line: Line, jobs: Sequence[Job], *writes: Write) -> list[Written]:
    repo = JobRepo(line, settings=SETTINGS, clock=line._client._database._now, sleep=no_wait)
    return write_together(repo.table, [Planned(None, Move.SUBMIT_WITH_WRITES, job) for job in jobs], writes)


def refused(code: str, message: str = "no", **more: Any) -> ClientError:
    answer = {"Error": {"Code": code, "Message": message}, **more}
    return ClientError(cast("Any", answer), "TransactWriteItems")


def cancelled(*reasons: str | Mapping[str, Any], **more: Any) -> ClientError:
    given = [{"Code": reason} if isinstance(reason, str) else reason for reason in reasons]
    return refused("TransactionCanceledException", "cancelled", CancellationReasons=given, **more)


# --- what is sent
def test_an_update_is_sent_as_a_transaction_takes_it(clock: ManualClock) -> None:
    line = Line(clock)
    repo = JobRepo(line, settings=SETTINGS, clock=clock, sleep=no_wait)
    job = repo.claim_job(repo.create_job("t").job_id)
    assert job is not None
    repo.update_status(job.job_id, "COMPLETED", effects=[PUT.as_item()])
    (update, _) = line.sent[0]["TransactItems"]
    assert set(update["Update"]) == {
        "TableName",
        "Key",
        "UpdateExpression",
        "ConditionExpression",
        "ExpressionAttributeNames",
        "ExpressionAttributeValues",
        "ReturnValuesOnConditionCheckFailure",
    }


def test_every_process_that_repeats_a_transaction_with_a_job_sends_its_token(clock: ManualClock) -> None:
    one = make("Put", {"TableName": "ledger", "Item": {"id": "1", "tags": {"x", "y"}, "n": 2}})
    same = make("Put", {"TableName": "ledger", "Item": {"n": 2, "tags": {"y", "x"}, "id": "1"}})
    other = make("Put", {"TableName": "ledger", "Item": {"n": 3, "tags": {"y", "x"}, "id": "1"}})
    tokens = []
    for write in (one, same, other):
        line = Line(clock)
        written(line, [A], write)
        tokens.append(line.sent[0]["ClientRequestToken"])
    assert tokens[0] == tokens[1] != tokens[2]
    assert max(map(len, tokens)) <= TOKEN_LIMIT


def test_a_transaction_without_a_job_has_a_token_for_each_call_and_keeps_it_while_it_is_repeated(
    clock: ManualClock,
) -> None:
    line = Line(clock, LOST)
    for _ in range(2):
        assert written(line, [], put()) == []
    first, again, second = (request["ClientRequestToken"] for request in line.sent)
    assert first == again != second


# --- how often it is sent
@pytest.mark.parametrize(
    ("answers", "tries"),
    [
        ([], 1),
        ([LOST], 2),
        ([cancelled("TransactionConflict", "None")], 2),
        ([cancelled("None", "TransactionConflict", ResponseMetadata={})], 2),
        ([cancelled("None", "TransactionConflict", ResponseMetadata={"RetryAttempts": 3})], 5),
    ],
)
def test_every_request_is_counted_boto3s_own_retries_too(
    clock: ManualClock, answers: list[Exception], tries: int
) -> None:
    assert written(Line(clock, *answers), [A], PUT) == [Written(True, A, tries)]


@pytest.mark.parametrize(
    "answer",
    [
        cancelled(),
        refused("TransactionCanceledException"),
        cancelled("None", "None"),
        cancelled({}, "TransactionConflict"),
        cancelled("TransactionConflict", FAILED),
        cancelled("None", *PASSING),
        refused("ThrottlingException", f"too many on {ARN}ledger"),
        refused("TransactionInProgressException"),
    ],
)
def test_what_may_pass_is_sent_again(clock: ManualClock, answer: Exception) -> None:
    line = Line(clock, answer)
    assert written(line, [A], PUT) == [Written(True, A, 2)]
    assert line.sent[0] == line.sent[1]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (cancelled("None", "ThrottlingError"), "ThrottlingException"),
        (cancelled("None", "RequestLimitExceeded", "TransactionConflict"), "RequestLimitExceeded"),
        (cancelled(), "TransactionConflictException"),
        (refused("AccessDeniedException", f"not authorized to perform PutItem on {ARN}{SETTINGS.job_table}"), "Access"),
        (refused("ExpiredTokenException", "the security token is expired"), "ExpiredToken"),
        (refused("LimitExceededException", f"too many on {ARN}ledger"), "LimitExceeded"),
    ],
)
def test_what_does_not_pass_and_is_no_fault_of_the_callers_writes_leaves_the_store_unavailable(
    clock: ManualClock, answer: Exception, says: str
) -> None:
    with pytest.raises(StoreUnavailable, match=says):
        written(Line(clock, *[answer] * 3), [A], PUT)


# --- the jobs' own writes
OWN = {"Code": FAILED}
SHOWN = {"Code": FAILED, "Item": item_of(OTHERS)}


@pytest.mark.parametrize(
    ("answers", "stored", "results", "reads"),
    [
        ([cancelled("None", SHOWN, "None")], [], [Written(False, None, 1), Written(False, OTHERS, 1)], 0),
        ([cancelled("None", OWN, "None")], [OTHERS], [Written(False, None, 1), Written(False, OTHERS, 1)], 1),
        ([cancelled("None", OWN, FAILED)], [B], [Written(False, None, 1), Written(False, B, 1)], 1),
        ([LOST, cancelled("None", OWN, "None")], [A, B], [Written(True, A, 2), Written(True, B, 2)], 1),
        ([LOST, cancelled("None", "None", FAILED)], [A, B], [Written(True, A, 2), Written(True, B, 2)], 1),
        ([LOST, cancelled(SHOWN, OWN, FAILED)], [A, B], [Written(True, A, 2), Written(True, B, 2)], 1),
    ],
    ids=["shown", "read", "one try", "own write made before", "callers refused, made before", "one shows it"],
)
def test_a_refused_job_is_told_or_found_to_have_been_written_before(
    clock: ManualClock, answers: list[Exception], stored: list[Job], results: list[Written], reads: int
) -> None:
    line = Line(clock, *answers)
    line.store(*stored)
    assert written(line, [A, B], PUT) == results
    assert line.reads == reads


# --- the caller's
@pytest.mark.parametrize(
    ("jobs", "answers", "reads"),
    [
        ([A], [cancelled("None", "None", FAILED)], 0),
        ([A], [LOST, cancelled("None", "None", FAILED)], 1),
        ([], [cancelled("None", FAILED)], 0),
        ([], [LOST, cancelled("None", FAILED)], 0),
    ],
)
def test_a_refused_write_of_the_callers_is_named(
    clock: ManualClock, jobs: list[Job], answers: list[Exception], reads: int
) -> None:
    line = Line(clock, *answers)
    with pytest.raises(EffectRefused, match="its condition did not hold") as error:
        written(line, jobs, PUT, TYPED)
    assert (error.value.index, error.value.operation, error.value.table) == (1, "Delete", "ledger")
    assert line.reads == reads


ITEM = {"id": {"S": "1"}, "n": {"N": "5"}}


@pytest.mark.parametrize(
    ("write", "reason", "key", "item", "says"),
    [
        (PUT, {"Code": FAILED, "Item": ITEM}, {"id": "1"}, {"id": "1", "n": 5}, "condition did not hold"),
        (TYPED, {"Code": FAILED, "Item": ITEM}, {"id": {"S": "1"}}, ITEM, "condition did not hold"),
        (PUT, {"Code": FAILED}, {"id": "1"}, None, "condition did not hold"),
        (put(), {"Code": "ValidationError"}, {}, None, "an item of table 'ledger'.*ValidationError: nothing more"),
        (put(), {"Code": "ValidationError", "Message": "too long"}, {}, None, "too long.*Correct the write"),
    ],
)
def test_a_refusal_shows_the_item_in_the_callers_own_form(
    clock: ManualClock,
    write: Write,
    reason: dict[str, Any],
    key: dict[str, Any],
    item: dict[str, Any] | None,
    says: str,
) -> None:
    with pytest.raises(EffectRefused, match=says) as error:
        written(Line(clock, cancelled("None", reason)), [A], write)
    found = error.value
    assert (found.key, found.item, found.reason, found.index) == (key, item, reason["Code"], 0)
    assert (found.table, found.operation, found.failure_kind) == ("ledger", write.operation, "")


def test_a_refusal_of_a_jobs_own_item_for_another_reason_says_so(clock: ManualClock) -> None:
    with pytest.raises(InvalidEffect, match="ItemCollectionSizeLimitExceeded"):
        written(Line(clock, cancelled("ItemCollectionSizeLimitExceeded", "None")), [A], PUT)


# --- the whole
@pytest.mark.parametrize(
    ("answer", "tables", "table", "says"),
    [
        (
            refused("ResourceNotFoundException"),
            ["ledger"],
            "ledger",
            rf": no\. .*Create.*own is '{SETTINGS.job_table}'",
        ),
        (refused("ResourceNotFoundException"), ["stock", "ledger"], "", "on ledger, stock with.*one of ledger, stock"),
        (refused("AccessDeniedException", f"on {ARN}stock"), ["ledger", "stock"], "stock", f"{ARN}stock.*role PutItem"),
        (refused("AccessDeniedException", f"on {ARN}ledger"), ["ledger", "stock"], "ledger", "Give this role PutItem"),
        (refused("AccessDeniedException", f"on {ARN}ledger"), [f"{ARN}ledger"], f"{ARN}ledger", "Give this role"),
        (refused("AccessDeniedException", f"on {ARN}alias"), ["ledger"], "ledger", "Give this role PutItem"),
        (refused("AccessDeniedException", f"on {ARN}{AUDIT} because"), [AUDIT], AUDIT, "Give this role PutItem"),
        (refused("AccessDeniedException", f"on {ARN}stock2."), ["stock", "stock2"], "stock2", "Give this role PutItem"),
    ],
)
def test_a_table_that_is_missing_or_closed_is_named_with_what_to_do(
    clock: ManualClock, answer: ClientError, tables: list[str], table: str, says: str
) -> None:
    line = Line(clock, answer)
    with pytest.raises(EffectRefused, match=says) as error:
        written(line, [A], *(put(name) for name in tables))
    code = answer.response["Error"]["Code"].removesuffix("Exception")
    assert (error.value.table, error.value.reason) == (table, code)
    assert (error.value.failure_kind, len(line.sent)) == (FailureKind.CONFIGURATION, 1)


def test_a_transaction_that_dynamodb_cannot_read_is_the_callers_fault(clock: ManualClock) -> None:
    with pytest.raises(InvalidEffect, match="effects on ledger, stock: two operations on one item"):
        written(Line(clock, refused("ValidationException", "two operations on one item")), [A], put("stock"), PUT)
