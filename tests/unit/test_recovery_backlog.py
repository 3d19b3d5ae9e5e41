"""Asking SQS how many messages wait."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from jobclaim.recovery import backlog as module
from jobclaim.recovery.backlog import SqsBacklog
from jobclaim.settings import Settings


def sqs_client() -> Any:
    session: Any = boto3.session.Session()
    return session.client("sqs", region_name="us-east-1")


@mock_aws
def test_waiting_messages_are_counted_and_those_in_flight_are_not() -> None:
    sqs = sqs_client()
    url = sqs.create_queue(QueueName="jobclaim-default")["QueueUrl"]
    backlog = SqsBacklog(Settings(), sqs)
    assert backlog("default") == 0
    for n in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=str(n))
    assert backlog("default") == 3
    sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1)
    assert backlog("default") == 2


@mock_aws
def test_a_queue_whose_url_is_given_is_not_looked_up() -> None:
    sqs = sqs_client()
    url = sqs.create_queue(QueueName="somebody-elses")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="1")
    assert SqsBacklog(Settings(queue_urls={"default": url}), sqs)("default") == 1


@mock_aws
def test_a_queue_that_does_not_exist_raises() -> None:
    with pytest.raises(ClientError):
        SqsBacklog(Settings(), sqs_client())("default")


class Sqs:
    """A client that says how it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_queue_url(self, *, QueueName: str) -> dict[str, str]:  # noqa: N803
        self.asked.append(QueueName)
        return {"QueueUrl": f"https://{QueueName}"}

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:  # noqa: N803
        self.asked.append(QueueUrl)
        return {"Attributes": {AttributeNames[0]: "7"}}


@pytest.mark.parametrize("given", [True, False])
def test_a_url_is_looked_up_once_with_the_given_client_or_one_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    sqs, other = Sqs(), Sqs()
    monkeypatch.setattr(
        module, "client_of", lambda settings, service: (other if given else sqs) if service == "sqs" else 0
    )
    backlog = SqsBacklog(Settings(), sqs if given else None)
    assert [backlog("default"), backlog("default")] == [7, 7]
    url = "https://jobclaim-default"
    assert (sqs.asked, other.asked) == (["jobclaim-default", url, url], [])
