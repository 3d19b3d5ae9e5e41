"""What a channel sends, gets, counts and purges: the same as kombu's own channel for SQS."""

from __future__ import annotations

import base64
import json
from queue import Empty
from typing import Any
from unittest.mock import Mock

import kombu
import pytest
from kombu import Connection
from kombu.transport import SQS

from jobclaim.settings import Settings
from jobclaim.workers.transport import channel as ours
from jobclaim.workers.transport import queues

URL = "http://127.0.0.1:1/1/jobclaim-default"
OPTIONS: dict[str, Any] = {
    "predefined_queues": {"default": {"url": URL}, "a-b_c": {"url": URL}},
    "jobclaim_settings": Settings(),
}
TIER = {"tier": {"DataType": "String", "StringValue": "gold"}}


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """The client of both channels."""
    made = Mock()
    for module in (ours, queues):
        monkeypatch.setattr(module, "sqs_client", lambda _: made)
    monkeypatch.setattr(SQS.Channel, "sqs", lambda *_, **__: made)
    return made


def channel(transport: Any, **options: Any) -> Any:
    made = transport(Connection("sqs://", transport_options={**OPTIONS, **options}))
    return made.create_channel(made)


def message(**properties: Any) -> dict[str, Any]:
    return {"body": "e30=", "headers": {"task": "a"}, "properties": {"delivery_tag": "t", **properties}}


def test_a_queue_is_declared_without_a_request(sqs: Mock) -> None:
    assert channel(ours.Transport).queue_declare("default") == ("default", 0, 0)
    assert sqs.mock_calls == []


def test_messages_are_encoded_unless_the_host_says_otherwise(sqs: Mock) -> None:
    channel(ours.Transport)._put("default", message())
    assert json.loads(base64.b64decode(sqs.send_message.call_args[1]["MessageBody"]))["body"] == "e30="


@pytest.mark.versions
@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize(
    "properties",
    [{}, {"DelaySeconds": 7}, {"message_attributes": TIER}, {"MessageGroupId": "vip", "message_attributes": TIER}],
)
def test_it_sends_what_kombu_sends(sqs: Mock, properties: dict[str, Any], encoded: bool) -> None:
    for transport in (ours.Transport, SQS.Transport):
        channel(transport, sqs_base64_encoding=encoded)._put("default", message(**properties))
    (sent,), (kombus,) = sqs.send_message.call_args_list[0][1:], sqs.send_message.call_args_list[1][1:]
    if kombu.VERSION[:2] == (5, 6):  # which sends it to FIFO queues only
        assert sent.pop("MessageGroupId", None) == properties.get("MessageGroupId")
    assert sent == kombus


@pytest.mark.parametrize(
    ("properties", "seconds"),
    [
        ({"delay_seconds": 1.9}, 1),
        ({"delay_seconds": None, "DelaySeconds": 3}, 3),
        ({"DelaySeconds": 1_000}, 900),
        ({"DelaySeconds": -1}, 0),
        ({"DelaySeconds": 0}, 0),
        ({}, None),
    ],
)
def test_a_delay_is_one_that_sqs_accepts(properties: dict[str, Any], seconds: int | None) -> None:
    assert queues.delay_of(properties) == seconds


def test_a_queue_is_found_by_the_name_that_it_has_in_sqs(sqs: Mock) -> None:
    assert channel(ours.Transport)._new_queue("a.b+c") == URL


def test_a_queue_of_no_settings_is_refused_as_kombu_does(sqs: Mock) -> None:
    for transport in (ours.Transport, SQS.Transport):
        with pytest.raises(SQS.UndefinedQueueException, match="'nowhere' must be defined in 'predefined_queues'"):
            channel(transport).queue_declare("nowhere")


@pytest.mark.versions
@pytest.mark.parametrize("body", [json.dumps(message()), base64.b64encode(json.dumps(message()).encode()).decode()])
def test_without_an_event_loop_it_gets_what_kombu_gets(sqs: Mock, body: str) -> None:
    got = []
    for transport in (ours.Transport, SQS.Transport):
        sqs.receive_message.return_value = {"Messages": [{"Body": body, "ReceiptHandle": "r"}]}
        got.append(channel(transport)._get("default"))
    properties = [envelope.pop("properties") for envelope in got]
    for each in properties:
        each["delivery_info"]["sqs_message"].pop("Body")  # kombu replaces it by the decoded one
    assert (got[0], properties[0]) == (got[1], properties[1])


def test_without_an_event_loop_strange_messages_are_passed_on_as_they_are(sqs: Mock) -> None:
    raw = {"Body": "what?", "ReceiptHandle": "r"}
    sqs.receive_message.return_value = {"Messages": [raw]}
    found = channel(ours.Transport)._get("default")
    assert (found["body"], found["properties"]["delivery_tag"]) == ("what?", "r")


def test_a_consumer_that_acknowledges_nothing_has_its_messages_deleted(sqs: Mock) -> None:
    made, got = channel(ours.Transport), list[Any]()
    sqs.receive_message.return_value = {"Messages": [{"Body": json.dumps(message()), "ReceiptHandle": "r"}]}
    made.basic_consume("default", True, got.append, "tag")
    made.drain_events(timeout=1)
    sqs.delete_message.assert_called_once_with(QueueUrl=URL, ReceiptHandle="r")
    assert [one.delivery_tag for one in got] == ["r"]


def test_an_empty_queue_is_empty(sqs: Mock) -> None:
    sqs.receive_message.return_value = {}
    with pytest.raises(Empty):
        channel(ours.Transport)._get("default")
    seconds = OPTIONS["jobclaim_settings"].wait_time_seconds
    wanted = {"MaxNumberOfMessages": 1, "MessageSystemAttributeNames": ["ApproximateReceiveCount"]}
    sqs.receive_message.assert_called_once_with(QueueUrl=URL, WaitTimeSeconds=seconds, **wanted)


def test_a_purge_counts_the_messages_once(sqs: Mock) -> None:
    sqs.get_queue_attributes.return_value = {"Attributes": {"ApproximateNumberOfMessages": "3"}}
    assert channel(ours.Transport).queue_purge("default") == 3
    sqs.get_queue_attributes.assert_called_once_with(QueueUrl=URL, AttributeNames=["ApproximateNumberOfMessages"])
    sqs.purge_queue.assert_called_once_with(QueueUrl=URL)


def test_recovered_messages_are_released(sqs: Mock) -> None:
    made = channel(ours.Transport)
    made.returns = Mock()
    made._restore(Mock(delivery_info={"sqs_queue": URL}, delivery_tag="r"))
    made.returns.put.assert_called_once_with(URL, "r")
