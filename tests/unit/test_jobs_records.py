"""What small records ask of their table, and what they make of its answers."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobclaim.jobs import JobRepo, StoreUnavailable
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.storage.records import Records
from tests.contract.stores import LossyClient
from tests.simulation.client import ModelClient
from tests.support.clock import ManualClock
from tests.support.recovery import bench_settings

SETTINGS = bench_settings()
KEY = {schema.FLEET_KEY: {"S": "#record"}}
STORED = {**KEY, "n": {"N": "1"}}


@pytest.fixture
def client(clock: ManualClock) -> ModelClient:
    made = ModelClient(clock)
    made.make_tables(SETTINGS.job_table, SETTINGS.fleet_table)
    return made


def records_of(client: Any, clock: ManualClock, waits: list[float]) -> Records:
    return Records.of(JobRepo(client, settings=SETTINGS, clock=clock, sleep=waits.append))


def write(records: Records, **options: Any) -> tuple[bool, dict[str, Any]]:
    values = {":n": {"N": "1"}}
    return records._write(
        "update_item", Key=KEY, UpdateExpression="SET n = :n", ExpressionAttributeValues=values, **options
    )


ALL_OLD = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
ABSENT, PRESENT = ("attribute_not_exists(n)", "attribute_exists(n)")


@pytest.mark.parametrize(
    ("stored", "options", "answer"),
    [
        (False, {"ConditionExpression": ABSENT, "ReturnValues": "ALL_NEW"}, (True, STORED)),
        (False, {"ConditionExpression": ABSENT}, (True, {})),
        (True, {"ConditionExpression": ABSENT, **ALL_OLD}, (False, STORED)),
        (True, {"ConditionExpression": ABSENT}, (False, {})),
        (False, {"ConditionExpression": PRESENT, **ALL_OLD}, (False, {})),
    ],
)
def test_a_conditional_write_tells_whether_it_was_made_and_what_is_stored(
    client: ModelClient, clock: ManualClock, stored: bool, options: dict[str, Any], answer: tuple[bool, dict[str, Any]]
) -> None:
    if stored:
        client.put_item(TableName=SETTINGS.fleet_table, Item=STORED)
    assert write(records_of(client, clock, []), **options) == answer


def test_a_request_is_repeated_after_waits_of_the_repos_own(client: ModelClient, clock: ManualClock) -> None:
    waits: list[float] = []
    records = records_of(LossyClient(client, times=2, arrives=False), clock, waits)
    assert write(records, ReturnValues="ALL_NEW") == (True, STORED)
    assert len(waits) == 2
    assert records.now() == clock()


def test_any_refusal_but_that_of_a_condition_says_that_the_store_is_unavailable(
    client: ModelClient, clock: ManualClock
) -> None:
    def denied() -> ClientError:
        return ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "UpdateItem")

    line = LossyClient(client, arrives=False, error=denied)
    with pytest.raises(StoreUnavailable):
        write(records_of(line, clock, []))
