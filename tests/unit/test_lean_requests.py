"""What the lean client asks of libcurl, what it makes of each answer, and where it leaves the request to boto3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pycurl
import pytest
from botocore import UNSIGNED, xform_name
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError
from botocore.session import Session
from moto import mock_aws

from jobclaim.jobs.storage import access, connect, lean, signing
from jobclaim.jobs.storage.lean import FIRST_PAUSE_SECONDS, LeanClient, client_of, requests_of
from jobclaim.settings import Service, Settings

URL = "http://127.0.0.1:4566/"
SETTINGS = Settings(endpoint_url=URL, connect_timeout_seconds=3, read_timeout_seconds=1.5)


class Curl:
    """A connection that answers with what the test lays out: a status and a body, or an error's number."""

    answers: list[tuple[int, bytes] | int]
    made: list[Curl]

    def __init__(self) -> None:
        self.options: dict[int, Any] = {}
        self.sent: list[dict[int, Any]] = []
        self.status = 0
        self.made.append(self)

    def setopt(self, option: int, value: Any) -> None:
        self.options[option] = value

    def perform_rb(self) -> bytes:
        self.sent.append(dict(self.options))
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise pycurl.error(answer, "as told")
        self.status, body = answer
        return body

    def getinfo(self, _: int) -> int:
        return self.status


@pytest.fixture
def curl(monkeypatch: pytest.MonkeyPatch) -> type[Curl]:
    """The class of all connections of the test."""
    monkeypatch.setattr(pycurl, "Curl", Curl)
    monkeypatch.setattr(Curl, "answers", [], raising=False)
    monkeypatch.setattr(Curl, "made", [], raising=False)
    return Curl


class Boto3s:
    """In the place of the boto3 client: notes what is left to it."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def update_item(self, **request: Any) -> str:
        self.asked.append(request)
        return "boto3's"

    send_message = update_item


def client(service: Service = "dynamodb", sleeps: list[float] | None = None) -> tuple[LeanClient, Boto3s]:
    known = access.of_settings(SETTINGS, service)
    assert known is not None
    boto3s = Boto3s()
    return LeanClient(known, lambda: boto3s, (sleeps if sleeps is not None else []).append), boto3s


def test_the_names_are_those_of_boto3() -> None:
    for names in lean.OPERATIONS.values():
        assert list(map(lean._method, names)) == list(map(xform_name, names))


def test_a_request_goes_out_once_within_the_times_that_are_set(curl: type[Curl]) -> None:
    curl.answers += [(200, b'{"n": 1}'), (200, b""), (200, b"{}"), (200, b"{}"), (503, b"")]
    made, _ = client()
    assert made.update_item(Key="k") == {"n": 1}
    assert made.update_item(Key="k") == {}, "SQS answers some requests with nothing"
    assert made.with_timeout(1).update_item(Key="k") == {}
    assert made.with_timeout(60).update_item(Key="k") == {}
    with pytest.raises(ClientError):
        made.with_timeout(0.7).update_item(Key="k")
    (connection,) = curl.made
    assert [sent[pycurl.TIMEOUT_MS] for sent in connection.sent] == [1500, 1500, 1000, 1500, 700]
    first = connection.sent[0]
    assert (first[pycurl.URL], first[pycurl.CONNECTTIMEOUT_MS], first[pycurl.PROXY]) == (URL, 3000, "")
    assert first[pycurl.NOSIGNAL], "a signal ends a process with threads"
    assert first[pycurl.TCP_KEEPALIVE]
    assert first[pycurl.POSTFIELDS] == b'{"Key":"k"}'
    lines = dict(line.partition(":")[::2] for line in first[pycurl.HTTPHEADER])
    assert lines["X-Amz-Target"] == " DynamoDB_20120810.UpdateItem"
    assert lines["Authorization"].startswith(" AWS4-HMAC-SHA256 Credential=")
    assert lines["User-Agent"] == " " + connect.USER_AGENT
    assert lines["Expect"] == "", "libcurl would wait for the server's leave to send a large body"


@pytest.mark.parametrize(
    "first",
    [(500, b""), (400, b'{"__type":"x#ThrottlingException"}'), (200, b"<html>"), pycurl.E_RECV_ERROR],
    ids=["500", "throttled", "not AWS", "cut off"],
)
def test_a_second_try_comes_after_a_short_pause(curl: type[Curl], first: tuple[int, bytes] | int) -> None:
    curl.answers += [first, (200, b"{}")]
    sleeps: list[float] = []
    made, _ = client(sleeps=sleeps)
    assert made.update_item() == {}
    assert len(sleeps) == 1
    assert 0 <= sleeps[0] <= FIRST_PAUSE_SECONDS


@pytest.mark.parametrize("answer", ['{"message":"no"}', '{"Message":"no"}', "{}", "<html>", "[]", ""])
@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_a_refusal_is_an_error_with_its_status_and_message(curl: type[Curl], status: int, answer: str) -> None:
    tries = 2 if status >= 500 else 1
    curl.answers += [(status, answer.encode())] * tries
    with pytest.raises(ClientError) as caught:
        client()[0].update_item()
    assert curl.answers == []
    error = caught.value.response
    assert error["Error"] == {"Code": str(status), "Message": "no" if "no" in answer else ""}
    assert error["ResponseMetadata"]["HTTPStatusCode"] == status
    assert error["ResponseMetadata"]["RetryAttempts"] == tries - 1
    assert caught.value.operation_name == "UpdateItem"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (pycurl.E_OPERATION_TIMEDOUT, ReadTimeoutError),
        (pycurl.E_COULDNT_CONNECT, EndpointConnectionError),
        (pycurl.E_COULDNT_RESOLVE_HOST, EndpointConnectionError),
        (pycurl.E_RECV_ERROR, ConnectionClosedError),
        ((200, b"<html>"), ConnectionClosedError),
        ((200, b"[]"), ConnectionClosedError),
    ],
)
def test_no_answer_of_aws_is_an_error_of_the_connection(
    curl: type[Curl], answer: int | tuple[int, bytes], kind: type[Exception]
) -> None:
    curl.answers += [answer, answer]
    with pytest.raises(kind, match=URL) as caught:
        client()[0].update_item()
    assert curl.answers == []
    assert caught.value.kwargs["error"]  # type: ignore[attr-defined]
    assert len(curl.made) == 1, "the connection is used again"


def test_values_that_are_not_json_are_left_to_boto3(curl: type[Curl]) -> None:
    made, boto3s = client()
    assert made.update_item(Key={"B": b"binary"}) == "boto3's"
    assert boto3s.asked == [{"Key": {"B": b"binary"}}]
    assert curl.made == []


@pytest.mark.parametrize(
    ("service", "status", "code", "left"),
    [
        ("sqs", 400, "QueueDoesNotExist", True),
        ("sqs", 503, "ServiceUnavailable", False),
        ("sqs", 400, "RequestThrottled", False),
        ("dynamodb", 400, "ResourceNotFoundException", False),
        ("dynamodb", 503, "ServiceUnavailable", False),
    ],
)
def test_what_sqs_refuses_for_good_is_asked_again_by_boto3(
    curl: type[Curl], service: Service, status: int, code: str, left: bool
) -> None:
    curl.answers += [(status, f'{{"__type":"com.amazonaws#{code}"}}'.encode())] * 2
    made, boto3s = client(service)
    ask = made.send_message if service == "sqs" else made.update_item
    if left:
        assert ask(a=1) == "boto3's"
    else:
        with pytest.raises(ClientError, match=code):
            ask(a=1)
    assert boto3s.asked == ([{"a": 1}] if left else [])


@pytest.mark.parametrize("signed", [True, False])
def test_without_credentials_a_request_is_not_signed(signed: bool) -> None:
    known = client()[0].access
    lines = signing.SignedRequests(known if signed else replace(known, credentials=None)).headers("GetItem", b"{}")
    headers = dict(line.split(": ", 1) for line in lines)
    assert ("Authorization" in headers) is signed
    assert headers["X-Amz-Target"] == "DynamoDB_20120810.GetItem"
    assert headers["Content-Type"] == "application/x-amz-json-1.0"
    assert headers["User-Agent"] == connect.USER_AGENT


def test_a_client_of_either_kind_signs_requests() -> None:
    ordinary = connect.client(SETTINGS, "sqs")
    for one in (ordinary, client("sqs")[0]):
        assert requests_of(one).access.url == URL
        assert requests_of(one).headers("SendMessage", b"{}")[2] == "X-Amz-Target: AmazonSQS.SendMessage"


@pytest.mark.parametrize(
    ("version", "is_lean"), [("v4", True), ("v4a", False), (UNSIGNED, False)], ids=["v4", "v4a", "unsigned"]
)
def test_a_client_of_another_signature_stays_boto3s(version: Any, is_lean: bool) -> None:
    config = Config(signature_version=version, region_name="us-east-1")
    made = Session().create_client("dynamodb", endpoint_url=URL, config=config)
    assert (lean.lean(made) is made) is not is_lean


def test_the_settings_client_is_boto3s_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(client_of(Settings(), "sqs"), LeanClient)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert not isinstance(client_of(Settings(), "sqs"), LeanClient)


def test_what_only_boto3_resolves_is_lean_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    made = client_of(Settings(region="us-east-1"), "dynamodb")
    assert isinstance(made, LeanClient)
    assert "api.aws" in made.access.url


def test_a_hook_answers_in_place_of_aws_whatever_the_client_is_called() -> None:
    with mock_aws():
        config = Config(region_name="us-east-1", user_agent="shop: orders: 1")
        ordinary: Any = Session().create_client("dynamodb", config=config)
        asked: list[str] = []
        ordinary.meta.events.register("provide-client-params.dynamodb", lambda model, **_: asked.append(model.name))
        made = lean.lean(ordinary)
        assert isinstance(made, LeanClient)
        for _ in range(2):
            with pytest.raises(ordinary.exceptions.ResourceNotFoundException):
                made.get_item(TableName="nowhere", Key={"job_id": {"S": "j"}})
        made.create_table(
            TableName="t",
            KeySchema=[{"AttributeName": "job_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "job_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        made.put_item(TableName="t", Item={"job_id": {"S": "j"}})
        assert made.get_item(TableName="t", Key={"job_id": {"S": "j"}})["Item"] == {"job_id": {"S": "j"}}
        assert asked == ["CreateTable"], "boto3 makes the others"
