"""The embedded AWS: atomic, patient with consumers, quiet, and gone without a trace."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from jobclaim.infra import LocalAws, local_aws, provision, resolve_queue_urls
from jobclaim.infra.clients import dynamodb_client, sqs_client
from jobclaim.infra.errors import LocalAwsError
from jobclaim.settings import Settings
from tests.infra.conftest import Stack, named_settings
from tests.support.processes import ManagedProcess
from tests.support.volume import volume
from tests.support.waiting import wait_until

THREADS, ITEMS = 32, volume(50)
POLL_SECONDS = 8


@pytest.fixture
def eager_thread_switches() -> Iterator[None]:
    """Switch threads every 50 microseconds: what is a race on some machine and day is one here, now."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.00005)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def queue_url(embedded: Stack) -> str:
    return str(embedded.sqs.create_queue(QueueName="q", Attributes={"VisibilityTimeout": "300"})["QueueUrl"])


def long_poll(stack: Stack, url: str, seconds: int) -> list[str]:
    answer = stack.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=seconds)
    return [message["Body"] for message in answer.get("Messages", [])]


def connection_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("local-aws")]


# --- atomic
@pytest.mark.thorough
def test_of_32_threads_that_claim_the_same_items_each_item_has_one_winner(
    embedded: Stack, eager_thread_switches: None
) -> None:
    provision(embedded.settings, dynamodb=embedded.dynamodb, sqs=embedded.sqs)
    table = embedded.settings.job_table
    for number in range(ITEMS):
        embedded.dynamodb.put_item(TableName=table, Item={"job_id": {"S": str(number)}, "owner": {"S": "nobody"}})
    wins: list[list[int]] = [[] for _ in range(ITEMS)]
    together = threading.Barrier(THREADS)

    def claim_all(thread: int) -> None:
        for number in range(ITEMS):
            together.wait(60)
            try:
                embedded.dynamodb.update_item(
                    TableName=table,
                    Key={"job_id": {"S": str(number)}},
                    UpdateExpression="SET #o = :me",
                    ConditionExpression="#o = :nobody",
                    ExpressionAttributeNames={"#o": "owner"},
                    ExpressionAttributeValues={":me": {"S": str(thread)}, ":nobody": {"S": "nobody"}},
                )
                wins[number].append(thread)
            except embedded.dynamodb.exceptions.ConditionalCheckFailedException:
                pass

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(claim_all, range(THREADS)))

    assert [len(winners) for winners in wins] == [1] * ITEMS
    item = embedded.dynamodb.get_item(TableName=table, Key={"job_id": {"S": "7"}})["Item"]
    assert item["owner"] == {"S": str(wins[7][0])}


def test_messages_sent_and_received_at_once_arrive_once_each(
    embedded: Stack, queue_url: str, eager_thread_switches: None
) -> None:
    senders, each, receivers = 4, 25, 4
    received: list[str] = []

    def send(sender: int) -> None:
        for number in range(each):
            embedded.sqs.send_message(QueueUrl=queue_url, MessageBody=f"{sender}-{number}")

    def receive(_: int) -> None:
        deadline = time.monotonic() + 60
        while len(received) < senders * each and time.monotonic() < deadline:
            found = embedded.sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=1)
            for message in found.get("Messages", []):
                received.append(message["Body"])
                embedded.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])

    with ThreadPoolExecutor(senders + receivers) as pool:
        sending = [pool.submit(send, sender) for sender in range(senders)]
        receiving = [pool.submit(receive, receiver) for receiver in range(receivers)]
        for done in [*sending, *receiving]:
            done.result(100)

    assert sorted(received) == sorted(f"{sender}-{number}" for sender in range(senders) for number in range(each))


# --- long polls
def test_a_long_poll_gets_a_message_that_is_sent_meanwhile(embedded: Stack, queue_url: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        polling = pool.submit(long_poll, embedded, queue_url, 20)
        wait_until(lambda: waiting_polls(embedded) == 1, 30, "the poll waits")
        embedded.sqs.send_message(QueueUrl=queue_url, MessageBody="hello")

        assert polling.result(15) == ["hello"]


def test_a_long_poll_for_nothing_ends_in_time_with_nothing(embedded: Stack, queue_url: str) -> None:
    started = time.monotonic()

    assert long_poll(embedded, queue_url, 1) == []

    assert 0.9 <= time.monotonic() - started < 15


def test_a_poll_that_names_no_wait_waits_as_the_queue_says(embedded: Stack) -> None:
    patient = {"ReceiveMessageWaitTimeSeconds": "1"}
    url = embedded.sqs.create_queue(QueueName="patient", Attributes=patient)["QueueUrl"]
    started = time.monotonic()

    assert "Messages" not in embedded.sqs.receive_message(QueueUrl=url)

    assert time.monotonic() - started >= 0.9


def test_a_delayed_message_is_found_by_a_poll_that_was_there_before_it(embedded: Stack, queue_url: str) -> None:
    embedded.sqs.send_message(QueueUrl=queue_url, MessageBody="later", DelaySeconds=3)

    assert long_poll(embedded, queue_url, 0) == []
    assert long_poll(embedded, queue_url, 20) == ["later"]


def test_a_long_poll_holds_up_nobody_and_no_cpu(embedded: Stack) -> None:
    urls = [embedded.sqs.create_queue(QueueName=f"idle-{number}")["QueueUrl"] for number in range(8)]
    with ThreadPoolExecutor(len(urls)) as pool:
        polls = [pool.submit(long_poll, embedded, url, POLL_SECONDS) for url in urls]
        wait_until(lambda: waiting_polls(embedded) == len(urls), 30, "all polls wait")
        embedded.dynamodb.list_tables()
        embedded.sqs.send_message(QueueUrl=embedded.sqs.create_queue(QueueName="busy")["QueueUrl"], MessageBody="x")
        assert not any(poll.done() for poll in polls)
        before = time.process_time()
        assert [poll.result(30) for poll in polls] == [[]] * len(urls)

    assert time.process_time() - before < POLL_SECONDS / 4, "eight waiting polls keep a quarter of a core busy"


def test_a_consumer_that_died_in_its_long_poll_takes_no_message_with_it(
    embedded: Stack, queue_url: str, tmp_path: Any
) -> None:
    program = (
        "from infra.clients import sqs_client; from settings import Settings; "
        f"sqs_client(Settings()).receive_message(QueueUrl={queue_url!r}, WaitTimeSeconds=20)"
    )
    environment = {**os.environ, "JOBCLAIM_ENDPOINT_URL": str(embedded.settings.endpoint_url)}
    with ManagedProcess("consumer", [sys.executable, "-c", program], log_dir=tmp_path, env=environment) as consumer:
        wait_until(lambda: waiting_polls(embedded) == 1, 60, consumer.describe)
        consumer.stop(timeout=0)

    embedded.sqs.send_message(QueueUrl=queue_url, MessageBody="for the living")

    assert long_poll(embedded, queue_url, 5) == ["for the living"]


def test_a_wait_that_sqs_would_refuse_is_refused(embedded: Stack, queue_url: str) -> None:
    with pytest.raises(embedded.sqs.exceptions.ClientError, match="WaitTimeSeconds"):
        long_poll(embedded, queue_url, 21)


def waiting_polls(stack: Stack) -> int:
    """How many polls wait: connections of the server that are inside a condition's wait."""
    frames = sys._current_frames()
    stacks = [frames.get(thread.ident or 0) for thread in connection_threads()]
    return sum(1 for frame in stacks if frame is not None and in_wait(frame))


def in_wait(frame: Any) -> bool:
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return "_receive" in names and "wait" in names


# --- a good neighbour
def test_child_processes_find_it_by_its_environment(embedded: Stack, tmp_path: Any) -> None:
    with local_aws(named_settings(region="eu-west-1", sqs_endpoint_url="http://elsewhere.test")) as local:
        provision(local.settings)
        program = (
            "from infra import resolve_queue_urls; from infra.clients import dynamodb_client; "
            "from settings import Settings; s = Settings(); "
            "print(dynamodb_client(s).list_tables()['TableNames'], resolve_queue_urls(s))"
        )
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **local.environment(),
            "JOBCLAIM_REGION": "eu-west-1",
            "JOBCLAIM_QUEUE_PREFIX": local.settings.queue_prefix,
        }
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    assert done.returncode == 0, done.stderr
    assert local.settings.job_table in done.stdout
    assert f"{local.endpoint_url}/" in done.stdout


def test_the_given_settings_stay_as_they_are() -> None:
    given = Settings(queue_urls={"default": "https://sqs.us-east-1.amazonaws.com/1/x"}, job_table="mine")

    with local_aws(given) as local:
        assert isinstance(local, LocalAws)
        assert given.endpoint_url is None
        assert (local.settings.endpoint("sqs"), local.settings.endpoint("dynamodb")) == (local.endpoint_url,) * 2
        assert local.settings.queue_urls == {}
        assert local.settings.job_table == "mine"


def test_it_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)

    with local_aws(named_settings()) as local:
        assert provision(local.settings).changed


def test_one_connection_carries_many_requests(embedded: Stack) -> None:
    address = urlsplit(str(embedded.settings.endpoint_url)).netloc
    connection = http.client.HTTPConnection(address, timeout=10)
    headers = {"X-Amz-Target": "DynamoDB_20120810.ListTables", "Content-Type": "application/x-amz-json-1.0"}
    ports = set()
    for _ in range(3):
        connection.request("POST", "/", body=b"{}", headers=headers)
        assert json.loads(connection.getresponse().read()) == {"TableNames": []}
        ports.add(connection.sock.getsockname()[1])
    connection.close()

    assert len(ports) == 1


def test_a_request_it_cannot_read_is_answered_and_the_next_one_too(
    embedded: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    connection = http.client.HTTPConnection(urlsplit(str(embedded.settings.endpoint_url)).netloc, timeout=10)
    for target in ("DynamoDB_20120810.PutItem", "AmazonSQS.ReceiveMessage"):
        connection.request("POST", "/", body=b"{not json", headers={"X-Amz-Target": target})
        answer = connection.getresponse()
        assert answer.status >= 400
        answer.read()
    connection.close()

    assert embedded.dynamodb.list_tables()["TableNames"] == []


def test_it_writes_no_line_per_request(embedded: Stack, queue_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    long_poll(embedded, queue_url, 0)
    embedded.dynamodb.list_tables()

    assert tuple(capfd.readouterr()) == ("", "")


# --- its beginning and its end
def test_it_ends_with_its_block_although_a_consumer_waits() -> None:
    before = set(connection_threads())
    with ThreadPoolExecutor(1) as pool:
        with local_aws(named_settings()) as local:
            stack = Stack(local.settings, dynamodb_client(local.settings), sqs_client(local.settings))
            stack.dynamodb.list_tables()  # leaves an open connection
            url = stack.sqs.create_queue(QueueName="q")["QueueUrl"]
            polling = pool.submit(long_poll, stack, url, 20)
            wait_until(lambda: waiting_polls(stack) == 1, 30, "the poll waits")
            started = time.monotonic()
        assert time.monotonic() - started < 15
        polling.exception(30)

    assert set(connection_threads()) == before
    with pytest.raises(OSError, match="refused"):
        http.client.HTTPConnection(urlsplit(local.endpoint_url).netloc, timeout=5).connect()


def test_two_of_them_know_nothing_of_each_other() -> None:
    settings = named_settings()
    with local_aws(settings) as one, local_aws(settings) as other:
        provision(one.settings)

        assert dynamodb_client(other.settings).list_tables()["TableNames"] == []
        assert len(resolve_queue_urls(one.settings)) == 3
        assert provision(other.settings).changed


def test_a_new_one_remembers_nothing() -> None:
    settings = named_settings()
    for _ in range(2):
        with local_aws(settings) as local:
            assert dynamodb_client(local.settings).list_tables()["TableNames"] == []
            provision(local.settings)


def test_a_taken_port_is_named(embedded: Stack) -> None:
    port = urlsplit(str(embedded.settings.endpoint_url)).port
    assert port is not None

    with pytest.raises(LocalAwsError, match=rf"127\.0\.0\.1:{port}.*0 for a free one"), local_aws(port=port):
        pass


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    with pytest.raises(LocalAwsError, match=rf"127\.0\.0\.1:{port}"), local_aws(port=port):
        pass


def test_without_moto_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jobclaim.infra.local_server", "jobclaim.infra.local_app"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "moto"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "moto", None)

    with pytest.raises(LocalAwsError, match=r"pip install jobclaim\[local\]"), local_aws():
        pass


def test_importing_infra_loads_neither_boto3_nor_moto() -> None:
    program = (
        "import infra, sys; print([m for m in ('boto3', 'moto', 'werkzeug', 'flask', 'celery') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)

    assert done.stdout.strip() == "[]"
