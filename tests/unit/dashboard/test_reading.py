"""Reads made by hand give what boto3's do: the same items, pages, costs and errors."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobclaim.jobs.storage.lean import LeanClient, lean
from tests.support.hostile import fill
from tests.unit.dashboard.conftest import Board

pytestmark = pytest.mark.embedded


@pytest.fixture
def both(board: Board) -> tuple[Any, Any]:
    """boto3's client and ours, on a table with jobs and a fleet."""
    fill(board.repo)
    plain = board.repo.table.client()
    return plain, lean(plain)


def asked(board: Board) -> list[tuple[str, dict[str, Any]]]:
    settings = board.settings
    keys = [{"job_id": {"S": name}} for name in ("none", "other")]
    query = {
        "TableName": settings.job_table,
        "IndexName": "by_state",
        "KeyConditionExpression": "state_key = :key",
        "ExpressionAttributeValues": {":key": {"S": "OPEN#default#0"}},
        "ReturnConsumedCapacity": "TOTAL",
    }
    batch = {settings.job_table: {"Keys": keys, "ConsistentRead": False}}
    return [
        ("query", query),
        ("query", {**query, "Limit": 1}),
        ("scan", {"TableName": settings.fleet_table, "ReturnConsumedCapacity": "TOTAL"}),
        ("scan", {"TableName": settings.job_table}),
        ("batch_get_item", {"RequestItems": batch, "ReturnConsumedCapacity": "TOTAL"}),
    ]


def test_answers_are_those_of_boto3(board: Board, both: tuple[Any, Any]) -> None:
    plain, ours = both
    assert isinstance(ours, LeanClient)
    for operation, request in asked(board):
        expected = {
            name: value for name, value in getattr(plain, operation)(**request).items() if name != "ResponseMetadata"
        }
        assert getattr(ours, operation)(**request) == expected, operation
    assert plain.scan(TableName=board.settings.fleet_table)["Count"] > 3


def test_errors_are_those_of_boto3(both: tuple[Any, Any]) -> None:
    for client in both:
        with pytest.raises(ClientError) as caught:
            client.scan(TableName="no-such-table")
        assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
