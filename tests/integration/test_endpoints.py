"""The local endpoints behave as the protocol needs: what the other suites prove, they prove on these."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from botocore.exceptions import ClientError

from tests.support import endpoints, shared
from tests.support.artifacts import Unavailable
from tests.support.endpoints import Endpoint, unique_name
from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_until

THREADS = 32


@pytest.fixture
def table(dynamodb_local: Endpoint) -> str:
    name = unique_name("jobs")
    dynamodb_local.client().create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "job_id", "AttributeType": "S"},
            {"AttributeName": "state_key", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "job_id", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_state",
                "KeySchema": [{"AttributeName": "state_key", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    return name


@pytest.fixture
def sqs(elasticmq: Endpoint) -> Any:
    return elasticmq.client()


@pytest.fixture
def queue_url(sqs: Any) -> str:
    return str(sqs.create_queue(QueueName=unique_name("q"), Attributes={"VisibilityTimeout": "30"})["QueueUrl"])


@pytest.mark.real
class TestDynamoDBLocal:
    def test_of_32_threads_that_claim_one_item_exactly_one_wins(self, dynamodb_local: Endpoint, table: str) -> None:
        client = dynamodb_local.client(max_pool_connections=THREADS)
        for round_number in range(10):
            job_id = f"job-{round_number}"
            client.put_item(TableName=table, Item={"job_id": {"S": job_id}, "status": {"S": "PENDING"}})
            gate = threading.Barrier(THREADS)

            def claim(token: int, job_id: str = job_id, gate: threading.Barrier = gate) -> int | None:
                gate.wait(timeout=30)
                try:
                    client.update_item(
                        TableName=table,
                        Key={"job_id": {"S": job_id}},
                        UpdateExpression="SET #s = :now, claim_token = :token",
                        ConditionExpression="#s = :before",
                        ExpressionAttributeNames={"#s": "status"},
                        ExpressionAttributeValues={
                            ":now": {"S": "PROCESSING"},
                            ":before": {"S": "PENDING"},
                            ":token": {"S": str(token)},
                        },
                    )
                except client.exceptions.ConditionalCheckFailedException:
                    return None
                return token

            with ThreadPoolExecutor(THREADS) as pool:
                winners = [token for token in pool.map(claim, range(THREADS)) if token is not None]
            stored = client.get_item(TableName=table, Key={"job_id": {"S": job_id}}, ConsistentRead=True)["Item"]
            assert winners == [int(stored["claim_token"]["S"])]

    def test_consumed_capacity_names_table_and_index(self, dynamodb_local: Endpoint, table: str) -> None:
        answer = dynamodb_local.client().put_item(
            TableName=table,
            Item={"job_id": {"S": "a"}, "state_key": {"S": "OPEN#default#0"}},
            ReturnConsumedCapacity="INDEXES",
        )["ConsumedCapacity"]
        assert answer["Table"]["CapacityUnits"] == 1
        assert answer["GlobalSecondaryIndexes"]["by_state"]["CapacityUnits"] == 1

    def test_a_refused_condition_brings_the_stored_item(self, dynamodb_local: Endpoint, table: str) -> None:
        client = dynamodb_local.client()
        client.put_item(TableName=table, Item={"job_id": {"S": "a"}, "status": {"S": "FAILED"}})
        with pytest.raises(ClientError) as refused:
            client.put_item(
                TableName=table,
                Item={"job_id": {"S": "a"}},
                ConditionExpression="attribute_not_exists(job_id)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        response: dict[str, Any] = dict(refused.value.response)
        assert response["Item"] == {"job_id": {"S": "a"}, "status": {"S": "FAILED"}}


@pytest.mark.real
class TestElasticMQ:
    def test_queue_urls_name_the_account_and_the_queue(self, elasticmq: Endpoint, sqs: Any) -> None:
        name = unique_name("q")
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        assert url == f"{elasticmq.endpoint_url}/000000000000/{name}"
        assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url

    def test_a_received_message_is_invisible_until_its_visibility_is_given_back(self, sqs: Any, queue_url: str) -> None:
        sqs.send_message(QueueUrl=queue_url, MessageBody="hello")
        first = receive(sqs, queue_url)[0]
        assert first["Body"] == "hello"
        assert first["Attributes"]["ApproximateReceiveCount"] == "1"
        assert receive(sqs, queue_url) == []

        sqs.change_message_visibility(QueueUrl=queue_url, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0)
        again = receive(sqs, queue_url, wait=5)[0]
        assert again["MessageId"] == first["MessageId"]
        assert again["Attributes"]["ApproximateReceiveCount"] == "2"

    def test_a_deleted_message_never_comes_back(self, sqs: Any, queue_url: str) -> None:
        sqs.send_message(QueueUrl=queue_url, MessageBody="hello")
        handle = receive(sqs, queue_url)[0]["ReceiptHandle"]
        sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=handle)
        assert depth(sqs, queue_url) == (0, 0, 0)

    def test_a_delayed_message_waits_its_time(self, sqs: Any, queue_url: str) -> None:
        sqs.send_message(QueueUrl=queue_url, MessageBody="later", DelaySeconds=4)
        assert receive(sqs, queue_url) == []
        assert depth(sqs, queue_url) == (0, 0, 1)
        assert receive(sqs, queue_url, wait=20)[0]["Body"] == "later"

    def test_batches_of_ten_are_sent_received_and_deleted(self, sqs: Any, queue_url: str) -> None:
        entries = [{"Id": str(n), "MessageBody": f"m{n}"} for n in range(10)]
        assert len(sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)["Successful"]) == 10
        received = receive(sqs, queue_url)
        assert {message["Body"] for message in received} == {f"m{n}" for n in range(10)}
        handles = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(received)]
        assert len(sqs.delete_message_batch(QueueUrl=queue_url, Entries=handles)["Successful"]) == 10
        assert depth(sqs, queue_url) == (0, 0, 0)

    def test_a_message_received_too_often_moves_to_the_dead_letter_queue(self, sqs: Any) -> None:
        dead_url = sqs.create_queue(QueueName=unique_name("dead"))["QueueUrl"]
        wanted = ["QueueArn", "RedrivePolicy"]
        arn = sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=wanted)["Attributes"]["QueueArn"]
        policy = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"1"}}'
        url = sqs.create_queue(
            QueueName=unique_name("q"), Attributes={"VisibilityTimeout": "0", "RedrivePolicy": policy}
        )["QueueUrl"]
        stored = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]["RedrivePolicy"]
        assert arn in stored

        sqs.send_message(QueueUrl=url, MessageBody="poison")
        assert receive(sqs, url)[0]["Body"] == "poison"
        wait_until(lambda: receive(sqs, url) == [] and depth(sqs, dead_url)[0] == 1, 30, "the dead letter arrives")

    def test_queue_attributes_can_be_changed_later(self, sqs: Any, queue_url: str) -> None:
        sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": "3600"})
        answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["VisibilityTimeout"])
        assert answer["Attributes"] == {"VisibilityTimeout": "3600"}


class TestSkipPolicy:
    """A missing server is a skip for a visitor and a failure for continuous integration."""

    @pytest.mark.parametrize(("required", "code", "word"), [("0", 0, "1 skipped"), ("1", 1, "1 error")])
    def test_without_java(self, tmp_path: Path, required: str, code: int, word: str) -> None:
        here = Path(__file__)
        test = f"{here}::TestElasticMQ::test_queue_urls_name_the_account_and_the_queue"
        environment = os.environ | {"PATH": str(tmp_path), "JOBCLAIM_REQUIRE_REAL": required}
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
        process = ManagedProcess("pytest", argv, log_dir=tmp_path, env=environment, cwd=here.parents[2])
        with process:
            assert process.wait_for_exit(120) == code
            assert word in process.log()
            assert "`java` is not on the PATH" in process.log()


@pytest.mark.real
def test_a_server_ends_with_its_block(elasticmq: Endpoint, tmp_path: Path) -> None:
    with endpoints.elasticmq(tmp_path) as own:
        assert own.endpoint_url != elasticmq.endpoint_url
        pid = own.process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    elasticmq.client().list_queues()


def test_processes_of_a_run_share_a_server_that_is_started_once_and_ends_with_the_run() -> None:
    events = []

    @contextmanager
    def fake(_: Path) -> Iterator[Endpoint]:
        events.append("starts")
        yield Endpoint("sqs", "http://127.0.0.1:1")
        events.append("ends")

    def missing(_: Path) -> NoReturn:
        raise Unavailable("`java` is not on the PATH")

    keeper = shared.Keeper({"sqs": fake, "dynamodb": missing})
    try:
        assert shared.asked(keeper.address, "sqs") == shared.asked(keeper.address, "sqs")
        with pytest.raises(Unavailable, match="`java` is not on the PATH"):
            shared.asked(keeper.address, "dynamodb")
        assert events == ["starts"]
    finally:
        keeper.close()
    assert events == ["starts", "ends"]


def receive(sqs: Any, queue_url: str, wait: int = 0) -> list[dict[str, Any]]:
    answer = sqs.receive_message(
        QueueUrl=queue_url,
        MaxNumberOfMessages=10,
        WaitTimeSeconds=wait,
        MessageSystemAttributeNames=["ApproximateReceiveCount"],
    )
    return list(answer.get("Messages", []))


def depth(sqs: Any, queue_url: str) -> tuple[int, int, int]:
    """Visible, in flight, delayed."""
    names = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    ]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    visible, in_flight, delayed = (int(attributes[name]) for name in names)
    return visible, in_flight, delayed
