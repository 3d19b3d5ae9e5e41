"""Provisioning, on the embedded AWS and on DynamoDB Local with ElasticMQ."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobclaim.infra import ProvisionReport, provision, resolve_queue_urls
from jobclaim.infra.errors import ProvisionError, QueueNotFound, TableMismatch
from jobclaim.jobs.encoding import schema
from tests.infra.conftest import Stack, named_settings
from tests.support.endpoints import free_port
from tests.support.waiting import wait_until

RUNS_AT_ONCE = 4


def run(stack: Stack) -> ProvisionReport:
    return provision(stack.settings, dynamodb=stack.dynamodb, sqs=stack.sqs, wait_seconds=20)


def actions(report: ProvisionReport, resource: str) -> dict[str, str]:
    return {row.kind: row.action for row in report.rows if row.resource == resource and row.action != "left"}


def make_table(stack: Stack, name: str, key: str, **more: Any) -> None:
    stack.dynamodb.create_table(
        **{
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            **more,
        }
    )


def test_both_tables_get_their_key_index_and_expiry(stack: Stack) -> None:
    settings = stack.settings

    report = run(stack)

    jobs, fleet = stack.table(settings.job_table), stack.table(settings.fleet_table)
    assert jobs["KeySchema"] == [{"AttributeName": "job_id", "KeyType": "HASH"}]
    assert fleet["KeySchema"] == [{"AttributeName": "worker_id", "KeyType": "HASH"}]
    (index,) = jobs["GlobalSecondaryIndexes"]
    assert index["IndexName"] == schema.INDEX
    assert index["Projection"]["ProjectionType"] == "KEYS_ONLY"
    assert [part["AttributeName"] for part in index["KeySchema"]] == ["state_key", "state_at"]
    for name in (settings.job_table, settings.fleet_table):
        expiry = stack.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        assert expiry["AttributeName"] == "expires_at"
        assert expiry["TimeToLiveStatus"] in ("ENABLING", "ENABLED")
    assert actions(report, settings.job_table) == {"table": "created", "index": "created", "expiry": "created"}
    assert actions(report, settings.fleet_table) == {"table": "created", "expiry": "created"}


@pytest.mark.parametrize(
    ("queue", "seconds", "receives"), [("default", 3600, 5), ("email", 270, 3), ("recovery", 180, 5)]
)
def test_every_queue_gets_the_attributes_that_its_limits_imply(
    stack: Stack, queue: str, seconds: int, receives: int
) -> None:
    physical = stack.settings.physical_name(queue)

    report = run(stack)

    attributes = stack.queue_attributes(physical)
    redrive = json.loads(attributes["RedrivePolicy"])
    assert attributes["VisibilityTimeout"] == str(seconds) == str(stack.settings.visibility_timeout(queue))
    assert redrive["deadLetterTargetArn"].endswith(f":{physical}-dlq")
    assert int(redrive["maxReceiveCount"]) == receives
    assert actions(report, physical) == {"queue": "created"}
    assert actions(report, f"{physical}-dlq") == {"dead-letter queue": "created"}


def test_a_second_run_changes_nothing(stack: Stack) -> None:
    first = run(stack)
    before = stack.queue_attributes(stack.settings.physical_name("email"))

    second = run(stack)

    assert first.changed
    assert not second.changed
    assert {row.resource for row in second.of("unchanged")} == {row.resource for row in first.of("created")}
    assert stack.queue_attributes(stack.settings.physical_name("email")) == before


def test_what_an_emulator_cannot_keep_is_said_and_the_rest_is_set(stack: Stack) -> None:
    report = run(stack)

    dead_letters = stack.settings.physical_name("default") + "-dlq"
    left = " ".join(row.detail for row in report.of("left") if row.resource == dead_letters)
    attributes = stack.queue_attributes(dead_letters)
    for name, wanted in (("MessageRetentionPeriod", "1209600"), ("SqsManagedSseEnabled", "true")):
        assert attributes.get(name) == wanted or f"{name}: " in left
    assert attributes["ReceiveMessageWaitTimeSeconds"] == "10"
    assert "Policy" not in attributes, "a policy against plain HTTP would lock out plain HTTP on loopback"


def test_a_visibility_timeout_changed_by_hand_is_reported_and_mended(stack: Stack) -> None:
    run(stack)
    physical = stack.settings.physical_name("email")
    url = stack.sqs.get_queue_url(QueueName=physical)["QueueUrl"]
    stack.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "30"})

    report = run(stack)

    assert [(row.resource, row.detail) for row in report.of("changed")] == [(physical, "VisibilityTimeout 30 -> 270")]
    assert stack.queue_attributes(physical)["VisibilityTimeout"] == "270"


def test_an_existing_queue_without_dead_letters_gets_them_and_keeps_its_messages(stack: Stack) -> None:
    physical = stack.settings.physical_name("email")
    url = stack.sqs.create_queue(QueueName=physical)["QueueUrl"]
    stack.sqs.send_message(QueueUrl=url, MessageBody="precious")

    report = run(stack)

    (changed,) = report.of("changed")
    assert changed.resource == physical
    assert "VisibilityTimeout 30 -> 270" in changed.detail
    assert "RedrivePolicy none -> " in changed.detail
    assert [m["Body"] for m in stack.sqs.receive_message(QueueUrl=url)["Messages"]] == ["precious"]


def test_a_message_nobody_can_finish_ends_in_the_dead_letter_queue(stack: Stack) -> None:
    run(stack)
    urls = resolve_queue_urls(stack.settings, stack.sqs)
    dead = stack.sqs.get_queue_url(QueueName=stack.settings.physical_name("email") + "-dlq")["QueueUrl"]
    stack.sqs.send_message(QueueUrl=urls["email"], MessageBody="poison")

    deliveries = 0

    def in_dead_letters() -> list[Any]:
        nonlocal deliveries
        answer = stack.sqs.receive_message(QueueUrl=urls["email"], VisibilityTimeout=0, WaitTimeSeconds=0)
        deliveries += len(answer.get("Messages", []))
        found: list[Any] = stack.sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=0).get("Messages", [])
        return found

    (message,) = wait_until(in_dead_letters, 30, "the message is in the dead-letter queue")
    assert message["Body"] == "poison"
    assert deliveries == 3


def test_a_table_without_the_index_gets_it_and_keeps_its_items(stack: Stack) -> None:
    name = stack.settings.job_table
    make_table(stack, name, "job_id")
    stack.dynamodb.put_item(TableName=name, Item={"job_id": {"S": "old"}})

    report = run(stack)

    assert actions(report, name) == {"table": "unchanged", "index": "created", "expiry": "created"}
    (index,) = stack.table(name)["GlobalSecondaryIndexes"]
    assert (index["IndexName"], index["IndexStatus"]) == ("by_state", "ACTIVE")
    assert stack.dynamodb.get_item(TableName=name, Key={"job_id": {"S": "old"}})["Item"]


def test_a_table_with_another_key_is_refused_and_left_alone(stack: Stack) -> None:
    make_table(stack, stack.settings.job_table, "id")

    with pytest.raises(TableMismatch, match=r"the key id \(HASH, S\), but jobclaim needs job_id .*JOBCLAIM_JOB_TABLE"):
        run(stack)

    assert stack.table(stack.settings.job_table)["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert not stack.table(stack.settings.job_table).get("GlobalSecondaryIndexes")


def test_an_index_with_another_key_is_refused_and_left_alone(stack: Stack) -> None:
    index = {
        "IndexName": "by_state",
        "KeySchema": [{"AttributeName": "status", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    }
    types = [{"AttributeName": name, "AttributeType": "S"} for name in ("job_id", "status")]
    make_table(stack, stack.settings.job_table, "job_id", AttributeDefinitions=types, GlobalSecondaryIndexes=[index])

    with pytest.raises(TableMismatch, match=r"by_state.* has the key status \(HASH, S\).*Delete it"):
        run(stack)

    (found,) = stack.table(stack.settings.job_table)["GlobalSecondaryIndexes"]
    assert found["KeySchema"] == index["KeySchema"]


def test_an_index_that_projects_too_much_and_paid_capacity_are_left_and_said(stack: Stack) -> None:
    capacity = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5}
    index = {
        "IndexName": "by_state",
        "KeySchema": [
            {"AttributeName": "state_key", "KeyType": "HASH"},
            {"AttributeName": "state_at", "KeyType": "RANGE"},
        ],
        "Projection": {"ProjectionType": "ALL"},
        "ProvisionedThroughput": capacity,
    }
    make_table(
        stack,
        stack.settings.job_table,
        "job_id",
        BillingMode="PROVISIONED",
        ProvisionedThroughput=capacity,
        AttributeDefinitions=[
            {"AttributeName": "job_id", "AttributeType": "S"},
            {"AttributeName": "state_key", "AttributeType": "S"},
            {"AttributeName": "state_at", "AttributeType": "N"},
        ],
        GlobalSecondaryIndexes=[index],
    )

    rows = {row.kind: row for row in run(stack).of("left") if row.resource == stack.settings.job_table}

    assert "provisioned capacity" in rows["table"].detail
    assert "projects ALL" in rows["index"].detail


def test_expiry_by_another_attribute_is_refused_and_left_alone(stack: Stack) -> None:
    name = stack.settings.fleet_table
    make_table(stack, name, "worker_id")
    stack.dynamodb.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "gone_at"}
    )

    with pytest.raises(TableMismatch, match="by attribute 'gone_at', but jobclaim needs 'expires_at'"):
        run(stack)

    expiry = stack.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert expiry["AttributeName"] == "gone_at"


def test_runs_at_the_same_time_agree(stack: Stack) -> None:
    start = threading.Barrier(RUNS_AT_ONCE)

    def at_once(_: int) -> ProvisionReport:
        start.wait(60)
        return run(stack)

    with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        reports = list(pool.map(at_once, range(RUNS_AT_ONCE)))

    made = [row for report in reports for row in report.of("created") if row.kind == "table"]
    assert sorted(row.resource for row in made) == sorted([stack.settings.job_table, stack.settings.fleet_table])
    assert not run(stack).changed


def test_runs_at_the_same_time_add_one_index(stack: Stack) -> None:
    make_table(stack, stack.settings.job_table, "job_id")
    start = threading.Barrier(RUNS_AT_ONCE)

    def at_once(_: int) -> ProvisionReport:
        start.wait(60)
        return run(stack)

    with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        reports = list(pool.map(at_once, range(RUNS_AT_ONCE)))

    # DynamoDB refuses a second UpdateTable of a table that is being updated; DynamoDB Local sometimes takes both, so
    # two runs may say that they made it. One index stands there all the same, and every run saw it ACTIVE.
    assert any(row.kind == "index" for report in reports for row in report.of("created"))
    table = stack.dynamodb.describe_table(TableName=stack.settings.job_table)["Table"]
    assert [index["IndexStatus"] for index in table["GlobalSecondaryIndexes"]] == ["ACTIVE"]
    assert not run(stack).changed


def test_a_queue_whose_url_is_given_is_left_to_its_owner(stack: Stack) -> None:
    given = {"email": "https://sqs.eu-west-1.amazonaws.com/123456789012/theirs"}
    settings = stack.settings.model_copy(update={"queue_urls": given})

    report = provision(settings, dynamodb=stack.dynamodb, sqs=stack.sqs)

    (row,) = [row for row in report.rows if row.resource == settings.physical_name("email")]
    assert (row.action, given["email"] in row.detail) == ("left", True)
    for name in ("theirs", "theirs-dlq", stack.settings.physical_name("email")):
        with pytest.raises(stack.sqs.exceptions.QueueDoesNotExist):
            stack.sqs.get_queue_url(QueueName=name)


def test_urls_are_the_given_ones_and_those_that_sqs_knows(stack: Stack) -> None:
    run(stack)
    settings = stack.settings.model_copy(update={"queue_urls": {"email": "https://example.test/theirs"}})

    urls = resolve_queue_urls(settings, stack.sqs)

    assert list(urls) == ["default", "email", "recovery"]
    assert urls["email"] == "https://example.test/theirs"
    assert urls["default"].endswith("/" + settings.physical_name("default"))


def test_a_queue_that_was_never_made_says_how_to_make_it(stack: Stack) -> None:
    endpoint = stack.settings.endpoint("sqs")
    with pytest.raises(QueueNotFound, match=f"queue 'default' .* does not exist at {endpoint}; run `jobclaim up`"):
        resolve_queue_urls(stack.settings, stack.sqs)


def test_nobody_at_the_endpoint_says_where_and_what_to_do() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    settings = named_settings(endpoint_url=endpoint)

    with pytest.raises(ProvisionError, match=f"{endpoint} did not answer.*JOBCLAIM_ENDPOINT_URL.*`jobclaim up` again"):
        provision(settings)
    with pytest.raises(ProvisionError, match=f"{endpoint} did not answer") as looked_up:
        resolve_queue_urls(settings)
    assert "jobclaim up" not in str(looked_up.value), "a worker that looks up its queues creates none"
