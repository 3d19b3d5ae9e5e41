"""The modelled DynamoDB behind the face of a boto3 client, for the contract that holds the model to the real one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from moto import mock_aws

from jobclaim.jobs import JobRepo
from jobclaim.jobs.clock import Clock, system_clock
from jobclaim.jobs.encoding import schema
from jobclaim.settings import Settings
from tests.simulation.dynamodb import Database, Index, size
from tests.support.clock import ManualClock

READS = ("batch_get_item", "get_item", "query", "scan")
READ_UNIT = 4096
"""Bytes that one unit reads, or two of an eventually consistent read."""
BY_STATE = Index(schema.INDEX, schema.INDEX_HASH, schema.INDEX_RANGE)


class ModelClient:
    """A client on tables that nobody else has, without lag and without faults."""

    def __init__(self, clock: Clock) -> None:
        self._database = Database(clock)

    def make_tables(self, job_table: str, fleet_table: str) -> None:
        """Make both tables, empty."""
        self._database.make_table(job_table, schema.KEY, BY_STATE)
        self._database.make_table(fleet_table, schema.FLEET_KEY)

    def make_table(self, name: str, key: str) -> None:
        """Make a table of a caller's, empty."""
        self._database.make_table(name, key)

    def create_table(self, *, TableName: str, KeySchema: list[dict[str, str]], **_: Any) -> None:  # noqa: N803
        """Make a table of a caller's, as boto3's."""
        self.make_table(TableName, KeySchema[0]["AttributeName"])

    def delete_table(self, *, TableName: str) -> None:  # noqa: N803
        """Delete a table, as boto3's."""
        self._database.drop_table(TableName)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return partial(self._ask, operation)

    def _ask(self, operation: str, **request: Any) -> Any:
        answer, _ = getattr(self._database, operation)(request)
        if "ReturnConsumedCapacity" in request and operation in READS:
            return {**answer, "ConsumedCapacity": {"CapacityUnits": _read_units(answer, request)}}
        return answer

    def get_paginator(self, operation: str) -> Pages:
        """As boto3's."""
        return Pages(getattr(self, operation))


class Pages:
    """All pages of an operation: one."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def paginate(self, **request: Any) -> Iterator[Any]:
        """As boto3's."""
        yield self._ask(**request)


def model_repo(settings: Settings, clock: ManualClock) -> JobRepo:
    """Make a repo on tables of its own; its waits move the clock."""
    client = ModelClient(clock)
    client.make_tables(settings.job_table, settings.fleet_table)
    return JobRepo(client, settings=settings, clock=clock, sleep=clock.advance)


def _read_units(answer: dict[str, Any], request: dict[str, Any]) -> float:
    """Sum the units of a read, of which an item that is not there costs as much as a small one."""
    asked = request.get("RequestItems", {})
    if asked:  # each item of a batch is rounded up for itself
        sizes = [size(item) for items in answer["Responses"].values() for item in items]
        sizes += [0] * (sum(len(each["Keys"]) for each in asked.values()) - len(sizes))
    else:
        sizes = [sum(map(size, answer.get("Items", [answer.get("Item")])))]
    consistent = request.get("ConsistentRead") or any(each.get("ConsistentRead") for each in asked.values())
    return sum(max(1, math.ceil(octets / READ_UNIT)) for octets in sizes) / (1 if consistent else 2)


@contextmanager
def in_model(settings: Settings) -> Iterator[ModelClient]:
    """Provide the tables of given settings, for the harness; S3 and SQS are moto's."""
    client = ModelClient(system_clock)
    client.make_tables(settings.job_table, settings.fleet_table)
    with mock_aws():
        yield client
