"""The lean client answers, and fails, as boto3's own; on moto in-process and over HTTP."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError
from moto import mock_aws

from jobclaim.jobs.storage.begun import can_begin
from jobclaim.jobs.storage.connect import client as connect
from jobclaim.jobs.storage.lean import LeanClient, lean
from jobclaim.jobs.storage.resilience import condition_failed, is_transient
from jobclaim.settings import Settings

KEY = {"job_id": {"S": "j1"}}
PUT: dict[str, Any] = {
    "TableName": "t",
    "Item": {**KEY, "n": {"N": "1"}, "text": {"S": "ä € 🦞"}},
    "ConditionExpression": "attribute_not_exists(job_id)",
    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
}
UPDATE: dict[str, Any] = {
    "TableName": "t",
    "Key": KEY,
    "UpdateExpression": "SET n = :n",
    "ExpressionAttributeValues": {":n": {"N": "2"}},
    "ReturnValues": "ALL_NEW",
}


@pytest.fixture
def boto() -> Iterator[Any]:
    """A boto3 client on moto, with a table."""
    with mock_aws():
        made = connect(Settings(), "dynamodb")
        made.create_table(
            TableName="t",
            KeySchema=[{"AttributeName": "job_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "job_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield made


@pytest.fixture
def to_nobody() -> Iterator[LeanClient]:
    """A lean client of a server that accepts connections and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings(dynamodb_endpoint_url=url, connect_timeout_seconds=0.2, read_timeout_seconds=0.2)
        yield LeanClient.of(connect(settings, "dynamodb"), sleep=lambda _: None)


def body(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


class TestOnMoto:
    def test_its_answers_are_those_of_boto3(self, boto: Any) -> None:
        made = lean(boto)
        assert isinstance(made, LeanClient)
        assert body(made.put_item(**PUT)) == {}
        assert body(made.update_item(**UPDATE)) == body(boto.update_item(**UPDATE))
        assert body(made.get_item(TableName="t", Key=KEY)) == body(boto.get_item(TableName="t", Key=KEY))

    def test_a_refused_condition_carries_the_old_item(self, boto: Any) -> None:
        made = lean(boto)
        made.put_item(**PUT)
        with pytest.raises(ClientError) as ours:
            made.put_item(**PUT)
        with pytest.raises(ClientError) as theirs:
            boto.put_item(**PUT)
        assert condition_failed(ours.value)
        assert type(ours.value) is type(theirs.value)
        assert ours.value.response["Item"] == theirs.value.response["Item"] == PUT["Item"]  # type: ignore[typeddict-item]
        assert ours.value.operation_name == theirs.value.operation_name

    def test_a_missing_table_is_the_same_error(self, boto: Any) -> None:
        with pytest.raises(boto.exceptions.ResourceNotFoundException):
            lean(boto).update_item(**{**UPDATE, "TableName": "nowhere"})

    def test_everything_else_goes_to_boto3(self, boto: Any) -> None:
        assert lean(boto).describe_table(TableName="t")["Table"]["TableName"] == "t"

    def test_behind_a_proxy_it_is_boto3_all_the_way(self, boto: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert lean(boto) is boto


class TestSendingOnMoto:
    @pytest.fixture
    def sqs(self) -> Iterator[Any]:
        """A boto3 client on moto, with a queue."""
        with mock_aws():
            made = connect(Settings(), "sqs")
            made.create_queue(QueueName="q")
            yield made

    def test_a_message_arrives_as_it_was_sent(self, sqs: Any) -> None:
        url = sqs.get_queue_url(QueueName="q")["QueueUrl"]
        attributes = {"kind": {"DataType": "String", "StringValue": "ä"}}
        answer = lean(sqs).send_message(QueueUrl=url, MessageBody="text ä € 🦞", MessageAttributes=attributes)
        (received,) = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
        assert (received["MessageId"], received["MD5OfBody"]) == (answer["MessageId"], answer["MD5OfMessageBody"])
        assert (received["Body"], received["MessageAttributes"]) == ("text ä € 🦞", attributes)

    def test_a_queue_that_is_not_there_is_boto3s_error(self, sqs: Any) -> None:
        url = sqs.get_queue_url(QueueName="q")["QueueUrl"] + "-gone"
        with pytest.raises(sqs.exceptions.QueueDoesNotExist) as ours:
            lean(sqs).send_message(QueueUrl=url, MessageBody="x")
        with pytest.raises(ClientError) as theirs:
            sqs.send_message(QueueUrl=url, MessageBody="x")
        assert ours.value.response["Error"] == theirs.value.response["Error"]


class Server(ThreadingHTTPServer):
    """Answers with what the test lays out, and keeps the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, bytes]] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((dict(self.headers), sent))
        status, answer = self.server.answers.pop(0)
        if status == 0:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of this test's own."""
    made = Server()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def over_http(server: Server) -> LeanClient:
    """A lean client of that server, which waits for nothing between tries."""
    url = f"http://127.0.0.1:{server.server_port}"
    settings = Settings(dynamodb_endpoint_url=url, connect_timeout_seconds=30, read_timeout_seconds=30)
    return LeanClient.of(connect(settings, "dynamodb"), sleep=lambda _: None)


class TestOverHttp:
    def test_a_request_is_signed_and_says_what_it_is(self, server: Server, over_http: LeanClient) -> None:
        server.answers = [(200, b'{"Attributes":{"n":{"N":"2"}}}')]
        assert over_http.update_item(**UPDATE) == {"Attributes": {"n": {"N": "2"}}}
        ((headers, sent),) = server.requests
        assert headers["X-Amz-Target"] == "DynamoDB_20120810.UpdateItem"
        assert headers["Content-Type"] == "application/x-amz-json-1.0"
        assert f"Credential={os.environ['AWS_ACCESS_KEY_ID']}/" in headers["Authorization"]
        assert headers["X-Amz-Security-Token"] == os.environ["AWS_SESSION_TOKEN"]
        assert b'"UpdateExpression":"SET n = :n"' in sent

    @pytest.mark.parametrize(
        "first",
        [
            (500, b'{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError"}'),
            (503, b"<html>busy</html>"),
            (400, b'{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}'),
            (200, b"<html>sign in</html>"),
            (200, b"[]"),
            (0, b""),
        ],
        ids=["500", "503 of a load balancer", "throttled", "200 of a proxy", "200 with a list", "cut off"],
    )
    def test_what_may_pass_is_tried_once_more(
        self, server: Server, over_http: LeanClient, first: tuple[int, bytes]
    ) -> None:
        server.answers = [first, (200, b"{}")]
        assert over_http.update_item(**UPDATE) == {}
        assert len(server.requests) == 2

    def test_a_refusal_tells_how_often_it_was_tried_before_as_boto3s_does(
        self, server: Server, over_http: LeanClient
    ) -> None:
        refusal = (400, b'{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}')
        boto3s = over_http.boto3s
        for client, answers, retries in (
            (over_http, [refusal], 0),
            (over_http, [(500, b"{}"), refusal], 1),
            (boto3s, [(500, b"{}"), refusal], 1),
        ):
            server.answers = list(answers)
            with pytest.raises(ClientError) as caught:
                client.update_item(**UPDATE)
            assert caught.value.response["ResponseMetadata"]["RetryAttempts"] == retries

    def test_what_does_not_pass_is_not_tried_again(self, server: Server, over_http: LeanClient) -> None:
        server.answers = [(400, b'{"__type":"com.amazon.coral.validate#ValidationException","message":"no"}')]
        with pytest.raises(ClientError, match=r"ValidationException.*no") as caught:
            over_http.update_item(**UPDATE)
        assert not is_transient(caught.value)

    def test_a_server_that_keeps_failing_is_a_transient_error(self, server: Server, over_http: LeanClient) -> None:
        server.answers = [(503, b"")] * 2
        with pytest.raises(ClientError) as caught:
            over_http.update_item(**UPDATE)
        assert is_transient(caught.value)

    def test_a_connection_that_is_cut_each_time_is_boto3s_error(self, server: Server, over_http: LeanClient) -> None:
        server.answers = [(0, b"")] * 6
        with pytest.raises(ConnectionClosedError) as caught:
            over_http.update_item(**UPDATE)
        assert is_transient(caught.value)

    def test_nobody_listening_is_boto3s_error(self, server: Server, over_http: LeanClient) -> None:
        server.shutdown()
        server.server_close()
        with pytest.raises(EndpointConnectionError) as caught:
            over_http.update_item(**UPDATE)
        assert is_transient(caught.value)

    def test_a_silent_server_is_given_up_after_the_read_timeout(self, to_nobody: LeanClient) -> None:
        with pytest.raises(ReadTimeoutError) as caught:
            to_nobody.update_item(**UPDATE)
        assert is_transient(caught.value)

    def test_in_a_hurry_it_tries_once_and_keeps_the_connection(self, server: Server, over_http: LeanClient) -> None:
        server.answers = [(200, b"{}"), (200, b"{}"), (503, b""), (503, b""), (200, b"{}")]
        over_http.update_item(**UPDATE)
        with_timeout = over_http.with_timeout(30)
        assert with_timeout.update_item(**UPDATE) == {}
        with pytest.raises(ClientError):
            with_timeout.update_item(**UPDATE)
        assert over_http.update_item(**UPDATE) == {}  # by its second try
        assert (len(server.requests), server.connections) == (5, 1)

    def test_threads_that_come_and_go_share_a_connection(self, server: Server, over_http: LeanClient) -> None:
        server.answers = [(200, b"{}")] * 5
        for _ in range(5):
            thread = threading.Thread(target=over_http.update_item, kwargs=UPDATE)
            thread.start()
            thread.join(10)
        assert (len(server.requests), server.connections) == (5, 1)

    def test_a_send_that_fails_is_not_handed_to_boto3_for_more_tries(self, server: Server) -> None:
        settings = Settings(sqs_endpoint_url=f"http://127.0.0.1:{server.server_port}")
        server.answers = [(503, b"")] * 4
        with pytest.raises(ClientError) as caught:
            LeanClient.of(connect(settings, "sqs"), sleep=lambda _: None).send_message(QueueUrl="q", MessageBody="x")
        assert is_transient(caught.value)
        assert len(server.requests) == 2
        assert {headers["X-Amz-Target"] for headers, _ in server.requests} == {"AmazonSQS.SendMessage"}


@pytest.mark.parametrize(
    ("module", "tells"), [("gevent.monkey", "is_module_patched"), ("eventlet.patcher", "is_monkey_patched")]
)
@pytest.mark.parametrize("patched", [True, False])
def test_where_sockets_are_replaced_it_is_boto3_all_the_way(
    monkeypatch: pytest.MonkeyPatch, module: str, tells: str, patched: bool
) -> None:
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{tells: lambda name: patched and name == "socket"}))
    boto3s = connect(Settings(), "dynamodb")
    assert (lean(boto3s) is boto3s) is patched
    assert boto3s.meta.config.max_pool_connections == 512, "as many as a pool of threads may need"


def test_a_request_that_libcurl_repeats_on_its_own_is_counted(server: Server, over_http: LeanClient) -> None:
    """A kept connection that ends without an answer: the first request may have been applied."""
    refusal = (400, b'{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}')
    server.answers = [(200, b"{}"), (0, b""), refusal, refusal]
    over_http.put_item(**PUT)
    errors = [outcome(over_http.put_item) for _ in range(2)]
    assert [error.response["ResponseMetadata"]["RetryAttempts"] for error in errors] == [1, 0]
    assert len(server.requests) == 4


class TestRequestsBegunTogether:
    def test_one_that_libcurl_repeats_on_its_own_is_counted(self, server: Server, over_http: LeanClient) -> None:
        refusal = (400, b'{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}')
        server.answers = [(200, b"{}")] * 2 + [(0, b"")] + [refusal] * 2
        assert [call() for call in over_http.begin("put_item", [PUT] * 2)] == [{}, {}]
        errors = [outcome(call) for call in over_http.begin("put_item", [PUT] * 2)]
        assert sorted(error.response["ResponseMetadata"]["RetryAttempts"] for error in errors) == [0, 1]

    def test_each_ends_as_it_would_by_itself(self, server: Server, over_http: LeanClient) -> None:
        refusal = (400, b'{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}')
        server.answers = [(200, b"{}"), refusal, (503, b"<html>busy</html>"), (0, b""), *[(200, b"{}")] * 2]
        ends = [outcome(call) for call in over_http.begin("put_item", [PUT] * 4)]
        assert ends.count({}) == 3
        (error,) = [end for end in ends if end != {}]
        assert condition_failed(error)
        assert error.response["ResponseMetadata"]["RetryAttempts"] == 0
        assert len(server.requests) == 6, "the one that was refused is not tried again"

    def test_called_again_one_makes_its_request_again(self, server: Server, over_http: LeanClient) -> None:
        server.answers = [(200, b"{}")] * 3
        call, _ = over_http.begin("put_item", [PUT, PUT])
        assert (call(**PUT), len(server.requests)) == ({}, 2)
        assert (call(**PUT), len(server.requests)) == ({}, 3)

    def test_binary_values_are_left_to_boto3(self, over_http: LeanClient) -> None:
        binary = {"TableName": "t", "Item": {"job_id": {"B": b"x"}}}
        assert over_http.begin("put_item", [PUT, binary]) == [over_http.boto3s.put_item] * 2

    def test_they_keep_a_connection_each(self, server: Server, over_http: LeanClient) -> None:
        server.answers = [(200, b"{}")] * 6
        for _ in range(2):
            assert [call() for call in over_http.begin("put_item", [PUT] * 3)] == [{}] * 3
        assert (len(server.requests), server.connections) == (6, 3)

    def test_those_of_several_bundles_are_under_way_together(self, server: Server, over_http: LeanClient) -> None:
        server.answers = [(200, b"{}")] * 6
        first, second = (over_http.begin("put_item", [PUT] * 3) for _ in range(2))
        assert [call() for call in (*second, *first)] == [{}] * 6
        assert (len(server.requests), server.connections) == (6, 6)

    def test_each_raises_what_kept_them_from_being_made(
        self, server: Server, over_http: LeanClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise OSError("no credentials")

        begin = over_http.begin
        monkeypatch.setattr(over_http._signed, "headers", fail)
        for call in begin("put_item", [PUT, PUT]):
            with pytest.raises(OSError, match="no credentials"):
                call(**PUT)
        assert server.requests == []

    def test_a_kept_connection_gives_each_answer_by_itself(self, server: Server, over_http: LeanClient) -> None:
        server.answers = [(200, b'{"n":1}')] * 2 + [(200, b'{"n":2}')] * 2
        for number in (1, 2):
            assert [call(**PUT) for call in over_http.begin("put_item", [PUT] * 2)] == [{"n": number}] * 2
        assert (len(server.requests), server.connections) == (4, 2)

    @pytest.mark.timeout(60)
    def test_a_silent_server_is_given_up_after_the_read_timeout(self, to_nobody: LeanClient) -> None:
        for call in to_nobody.begin("put_item", [PUT, PUT]):
            with pytest.raises(ReadTimeoutError):
                call(**PUT)

    def test_only_this_client_begins_requests(self, boto: Any) -> None:
        assert [can_begin(client) for client in (lean(boto), boto)] == [True, False]

    def test_nobody_listening_is_boto3s_error_for_each(self, server: Server, over_http: LeanClient) -> None:
        server.shutdown()
        server.server_close()
        for call in over_http.begin("put_item", [PUT, PUT]):
            with pytest.raises(EndpointConnectionError):
                call(**PUT)

    def test_a_hook_answers_and_one_alone_is_made_when_it_is_called(self, boto: Any) -> None:
        made = lean(boto)
        first, second = made.begin("put_item", [PUT, PUT])
        (alone,) = made.begin("put_item", [PUT])
        assert body(first(**PUT)) == {}
        refused = outcome(second)
        assert condition_failed(refused)
        assert refused.response["ResponseMetadata"]["RetryAttempts"] == 0
        boto.delete_item(TableName="t", Key=KEY)
        assert body(alone(**PUT)) == {}


def outcome(call: Any) -> Any:
    """Return the answer of a begun put, or its error."""
    try:
        return call(**PUT)
    except ClientError as error:
        return error
