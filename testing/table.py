"""The tables of given settings in memory, by moto."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

from jobclaim.settings import Settings

FAKE: Final = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def in_memory(settings: Settings) -> Iterator[Any]:
    """Create the tables, and the bucket if settings name one; provide a DynamoDB client.

    For one thread only: moto's conditional writes are not atomic. Test races with DynamoDB Local.
    """
    try:
        from moto import mock_aws
    except ImportError as error:
        raise ImportError("jobclaim.testing needs moto; pip install 'jobclaim[testing]'") from error
    from jobclaim.infra.tables import ensure_table, table_specs
    from jobclaim.jobs.storage.connect import client

    own = settings.model_copy(update={"endpoint_url": None, "dynamodb_endpoint_url": None, "sqs_endpoint_url": None})
    with mock.patch.dict(os.environ, FAKE), mock_aws():
        dynamodb = client(own, "dynamodb")
        for spec in table_specs(own):
            list(ensure_table(dynamodb, spec, 10))
        yield dynamodb
