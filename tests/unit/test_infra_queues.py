"""What queues get on AWS itself, where the endpoint is not a loopback one: moto in-process stands for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from jobclaim.infra import ProvisionReport, provision
from jobclaim.infra.attributes import TLS_ONLY, differences, redrive_policy, tls_only_policy
from jobclaim.infra.clients import sqs_client
from jobclaim.infra.errors import ProvisionError
from jobclaim.settings import Settings

ARN = "arn:aws:sqs:us-east-1:123456789012:q"
OWNERS = {
    "Version": "2012-10-17",
    "Statement": {"Sid": "Owners", "Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": ARN},
}


@pytest.fixture
def settings() -> Iterator[Settings]:
    with mock_aws():
        yield Settings()


@pytest.fixture
def sqs(settings: Settings) -> Any:
    return sqs_client(settings)


def attributes(sqs: Any, name: str) -> dict[str, str]:
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    found: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return found


def rows(report: ProvisionReport, resource: str) -> list[tuple[str, str]]:
    return [(row.action, row.detail) for row in report.rows if row.resource == resource]


@pytest.mark.parametrize("name", ["jobclaim-default", "jobclaim-default-dlq", "jobclaim-recovery"])
def test_every_queue_on_aws_refuses_plain_http_and_is_encrypted(settings: Settings, sqs: Any, name: str) -> None:
    provision(settings)

    found = attributes(sqs, name)
    (statement,) = json.loads(found["Policy"])["Statement"]
    assert found["SqsManagedSseEnabled"] == "true"
    assert statement["Effect"] == "Deny"
    assert statement["Action"] == "sqs:*"
    assert statement["Resource"] == found["QueueArn"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert not provision(settings).changed


def test_a_policy_of_the_owner_keeps_its_statements(settings: Settings, sqs: Any) -> None:
    provision(settings)
    url = sqs.get_queue_url(QueueName="jobclaim-default")["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(OWNERS)})

    report = provision(settings)

    assert [row.resource for row in report.of("changed")] == ["jobclaim-default"]
    statements = json.loads(attributes(sqs, "jobclaim-default")["Policy"])["Statement"]
    assert [statement["Sid"] for statement in statements] == ["Owners", TLS_ONLY]
    assert not provision(settings).changed


def test_a_queue_with_the_owners_own_encryption_key_keeps_it(settings: Settings, sqs: Any) -> None:
    sqs.create_queue(
        QueueName="jobclaim-default", Attributes={"KmsMasterKeyId": "alias/own", "SqsManagedSseEnabled": "false"}
    )

    provision(settings)

    found = attributes(sqs, "jobclaim-default")
    assert found["KmsMasterKeyId"] == "alias/own"
    assert found["SqsManagedSseEnabled"] == "false"


class Refusing:
    """An SQS that minds one attribute, alone or among others."""

    def __init__(self, sqs: Any, attribute: str, code: str = "InvalidAttributeName") -> None:
        self._sqs, self._attribute, self._code = sqs, attribute, code
        self.exceptions = sqs.exceptions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sqs, name)

    def create_queue(self, **request: Any) -> Any:
        self._refuse("CreateQueue", request.get("Attributes", {}))
        return self._sqs.create_queue(**request)

    def set_queue_attributes(self, **request: Any) -> Any:
        self._refuse("SetQueueAttributes", request["Attributes"])
        return self._sqs.set_queue_attributes(**request)

    def _refuse(self, operation: str, given: dict[str, str]) -> None:
        if self._attribute in given:
            error = {"Error": {"Code": self._code, "Message": f"Unknown Attribute {self._attribute}."}}
            raise self.exceptions.ClientError(error, operation)


def refusing(sqs: Any, attribute: str, **more: str) -> Any:
    return Refusing(sqs, attribute, **more)


def test_an_attribute_that_is_refused_does_not_keep_the_others_out(settings: Settings, sqs: Any) -> None:
    name = "ReceiveMessageWaitTimeSeconds"
    report = provision(settings, sqs=refusing(sqs, name))

    found = attributes(sqs, "jobclaim-default")
    assert found["VisibilityTimeout"] == "3600"
    assert "RedrivePolicy" in found
    assert "Policy" in found
    assert ("left", f"{name}: Unknown Attribute {name}.") in rows(report, "jobclaim-default")


def test_an_endpoint_that_refuses_a_visibility_timeout_is_not_accepted(settings: Settings, sqs: Any) -> None:
    with pytest.raises(ProvisionError, match=r"'jobclaim-default' does not accept VisibilityTimeout: Unknown"):
        provision(settings, sqs=refusing(sqs, "VisibilityTimeout"))


def test_a_missing_permission_is_an_error_and_no_attribute_that_was_left(settings: Settings, sqs: Any) -> None:
    with pytest.raises(ProvisionError, match=r"AWS us-east-1 refused CreateQueue with AccessDenied: .* again"):
        provision(settings, sqs=refusing(sqs, "SqsManagedSseEnabled", code="AccessDenied"))


# --- attributes as values
@pytest.mark.parametrize(
    ("have", "same"),
    [
        ({"maxReceiveCount": "5", "deadLetterTargetArn": ARN}, True),
        ({"deadLetterTargetArn": ARN, "maxReceiveCount": 5}, True),
        ({"deadLetterTargetArn": ARN, "maxReceiveCount": 6}, False),
        ({"deadLetterTargetArn": ARN + "-old", "maxReceiveCount": 5}, False),
    ],
)
def test_redrive_policies_are_compared_by_meaning(have: dict[str, Any], same: bool) -> None:
    wanted = {"RedrivePolicy": redrive_policy(ARN, 5)}

    assert (differences({"RedrivePolicy": json.dumps(have)}, wanted) == []) is same


def test_a_change_reads_old_and_new() -> None:
    changes = differences({"VisibilityTimeout": "30"}, {"VisibilityTimeout": "600", "DelaySeconds": "0"})

    assert [str(change) for change in changes] == ["VisibilityTimeout 30 -> 600", "DelaySeconds none -> 0"]


def test_our_statement_is_renewed_and_never_doubled() -> None:
    once = tls_only_policy(ARN, json.dumps(OWNERS))

    assert tls_only_policy(ARN, once) == once
    assert [each["Resource"] for each in json.loads(tls_only_policy(ARN + "2", once))["Statement"]] == [ARN, ARN + "2"]
