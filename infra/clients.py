"""Typed names for the two clients that tables and queues need; `jobclaim.jobs.storage.connect` makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from jobclaim.jobs.storage.connect import client, is_loopback

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

    from jobclaim.settings import Settings

__all__ = ["client", "dynamodb_client", "is_loopback", "sqs_client"]


def dynamodb_client(settings: Settings) -> DynamoDBClient:
    """Create a DynamoDB client; thread-safe, but create it after a fork, not before."""
    return cast("DynamoDBClient", client(settings, "dynamodb"))


def sqs_client(settings: Settings) -> SQSClient:
    """Create an SQS client; thread-safe, but create it after a fork, not before."""
    return cast("SQSClient", client(settings, "sqs"))
