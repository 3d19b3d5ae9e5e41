"""The endpoints that provisioning is tested on, each with names of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from jobclaim.infra import local_aws
from jobclaim.infra.clients import dynamodb_client, sqs_client
from jobclaim.settings import QueueSpec, Settings
from tests.support.endpoints import Endpoint, unique_name

QUEUES = (
    QueueSpec(name="default"),
    QueueSpec(name="email", soft_limit=90, hard_limit=120, max_receive_count=3),
    QueueSpec(name="recovery", soft_limit=20, hard_limit=30),
)


@dataclass(frozen=True)
class Stack:
    """A DynamoDB and an SQS endpoint, and settings that name tables and queues no other test uses."""

    settings: Settings
    dynamodb: Any
    sqs: Any

    @classmethod
    def at(cls, **endpoints: str) -> Stack:
        settings = named_settings(**endpoints)
        return cls(settings, dynamodb_client(settings), sqs_client(settings))

    def queue_attributes(self, physical: str) -> dict[str, str]:
        url = self.sqs.get_queue_url(QueueName=physical)["QueueUrl"]
        attributes: dict[str, str] = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return attributes

    def table_names(self) -> list[str]:
        pages = self.dynamodb.get_paginator("list_tables").paginate()
        return [name for page in pages for name in page["TableNames"]]

    def table(self, name: str) -> dict[str, Any]:
        described: dict[str, Any] = self.dynamodb.describe_table(TableName=name)["Table"]
        return described


def named_settings(**changes: Any) -> Settings:
    """Settings with three queues and names of their own."""
    own = unique_name("t")
    names = {"job_table": f"{own}-jobs", "fleet_table": f"{own}-fleet", "queue_prefix": f"{own}-"}
    return Settings(**{**names, "queues": QUEUES, **changes})


@pytest.fixture
def embedded() -> Iterator[Stack]:
    """The embedded AWS, empty."""
    with local_aws(Settings()) as local:
        yield Stack.at(endpoint_url=local.endpoint_url)


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The embedded AWS; then DynamoDB Local with ElasticMQ."""
    if request.param == "embedded":
        yield request.getfixturevalue("embedded")
        return
    dynamodb: Endpoint = request.getfixturevalue("unshared_dynamodb_local")
    sqs: Endpoint = request.getfixturevalue("elasticmq")
    real = Stack.at(dynamodb_endpoint_url=dynamodb.endpoint_url, sqs_endpoint_url=sqs.endpoint_url)
    yield real
    # each table with an expiry keeps one of the server's few background threads
    for table in {real.settings.job_table, real.settings.fleet_table} & set(real.table_names()):
        real.dynamodb.delete_table(TableName=table)
