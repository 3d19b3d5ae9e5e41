"""Tables and queues of a new stack in a quarter of the CPU of `provision`, which looks what is there and what is kept.

What `provision` makes, and that it may be run again, is shown by ``tests/infra``; this makes the same at once.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from jobclaim.infra import queues, tables
from jobclaim.infra.clients import dynamodb_client, sqs_client
from jobclaim.settings import Settings


def make(settings: Settings) -> None:
    """Make both tables and all queues, whose names nothing has yet."""
    dynamodb: Any = dynamodb_client(settings)
    make_tables(dynamodb, settings)
    for spec in tables.table_specs(settings):
        expiry = {"Enabled": True, "AttributeName": spec.ttl}
        dynamodb.update_time_to_live(TableName=spec.name, TimeToLiveSpecification=expiry)
    sqs: Any = sqs_client(settings)
    for queue in settings.queues:
        url = _create(sqs, queues._plan_dead_letters(settings, queue))
        account, name = urlsplit(url).path.split("/")[-2:]
        arn = f"arn:aws:sqs:{settings.region}:{account}:{name}"
        _create(sqs, queues._plan_queue(settings, queue, arn))


def make_tables(client: Any, settings: Settings) -> None:
    """Make both tables, whose names nothing has yet, without expiry: half the CPU, and no test waits for a deletion."""
    for spec in tables.table_specs(settings):
        assert tables._create(client, spec)
        tables._await_table(client, spec, 30)


def _create(sqs: Any, plan: queues.QueuePlan) -> str:
    return str(sqs.create_queue(QueueName=plan.name, Attributes=plan.attributes)["QueueUrl"])
