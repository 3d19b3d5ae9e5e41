"""Read from AWS what is deployed. Nothing is written; what cannot be read is left out and noted."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

from jobclaim.infra import clients
from jobclaim.infra.doctor.permissions import Actor, is_denial, permissions
from jobclaim.infra.doctor.snapshot import DeployedQueue, DeployedTable, Snapshot
from jobclaim.infra.errors import endpoint_name
from jobclaim.infra.tables import TableSpec, table_specs
from jobclaim.jobs.failures.aws_errors import explain_aws
from jobclaim.settings import Settings


def gather(
    settings: Settings,
    *,
    actor: Actor | None = None,
    listens_on: Collection[str] = (),
    dynamodb: Any = None,
    sqs: Any = None,
    clock: Callable[[], float] = time.time,
) -> Snapshot:
    """Read every table and queue that the settings name.

    Parameters
    ----------
    actor : optional
        Test this actor's permissions as well, with requests that change nothing. What it may not read is noted in
        `Snapshot.refused`: no actor needs to read everything for its work.
    listens_on : collection of str
        Logical queues of that actor, if it is a worker; default all but recovery's.
    dynamodb, sqs : boto3 clients, optional
        Default: made from `settings`.
    clock : callable
        This machine's time, epoch seconds.
    """
    dynamodb = dynamodb or clients.dynamodb_client(settings)
    sqs = sqs or clients.sqs_client(settings)
    unreachable: dict[str, str] = {}
    refused: dict[str, str] = {}
    tables: dict[str, DeployedTable | None] = {}
    queues: dict[str, DeployedQueue] = {}
    seen = Snapshot(unreachable=unreachable, refused=refused, tables=tables, queues=queues)
    with _noting(unreachable, f"DynamoDB at {endpoint_name(settings, 'dynamodb')}"):
        for spec in table_specs(settings):
            with _tolerating(actor, refused, f"table {spec.name}"):
                tables[spec.name] = _table(dynamodb, spec)
        seen = replace(seen, skew_seconds=_skew(dynamodb, settings, clock))
    with _noting(unreachable, f"SQS at {endpoint_name(settings, 'sqs')}"):
        for name in settings.queue_names:
            with _tolerating(actor, refused, f"queue {name}"):
                queues[name] = _queue(sqs, settings, name)
    if actor is not None and not unreachable:
        seen = replace(seen, permissions=tuple(permissions(actor, settings, dynamodb, sqs, queues=listens_on)))
    return seen


@contextmanager
def _noting(unreachable: dict[str, str], where: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (ClientError, BotoCoreError) as error:
        unreachable[where] = explain_aws(error)


@contextmanager
def _tolerating(actor: Actor | None, refused: dict[str, str], what: str) -> Iterator[None]:
    """While an actor is tested, note a refusal and continue: its policy need not allow reading the deployment."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if actor is None or not is_denial(error):
            raise
        refused[what] = _words(error)


def _words(error: Any) -> str:
    details = error.response.get("Error", {})
    return f"refused {error.operation_name}: {details.get('Code')}: {details.get('Message')}"


# --- DynamoDB
def _table(client: Any, spec: TableSpec) -> DeployedTable | None:
    try:
        table = client.describe_table(TableName=spec.name)["Table"]
    except client.exceptions.ResourceNotFoundException:
        return None
    indexes = table.get("GlobalSecondaryIndexes", [])
    index = next((each for each in indexes if each["IndexName"] == spec.index), None) or {}
    return DeployedTable(
        key=_key(table["KeySchema"]),
        index_key=_key(index.get("KeySchema", [])),
        projection=index.get("Projection", {}).get("ProjectionType", ""),
        index_status=index.get("IndexStatus", ""),
        ttl=_ttl(client, spec.name),
        backed_up=_backed_up(client, spec.name),
        protected=bool(table.get("DeletionProtectionEnabled")),
        replicas=tuple(sorted(each["RegionName"] for each in table.get("Replicas", []))),
        consistency=table.get("MultiRegionConsistency", "EVENTUAL") if _is_global(table) else "",
    )


def _is_global(table: Mapping[str, Any]) -> bool:
    return bool(table.get("Replicas") or table.get("GlobalTableVersion"))


def _key(parts: list[dict[str, str]]) -> tuple[str, ...]:
    return tuple(part["AttributeName"] for part in sorted(parts, key=lambda part: part["KeyType"]))  # HASH, RANGE


def _ttl(client: Any, name: str) -> str | None:
    expiry = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    return expiry.get("AttributeName") if expiry.get("TimeToLiveStatus") in ("ENABLED", "ENABLING") else None


def _backed_up(client: Any, name: str) -> bool | None:
    try:
        answer = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    except client.exceptions.ClientError:  # an emulator that does not know it, or a role without the permission
        return None
    status = answer.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    return status == "ENABLED" if status else None


def _skew(client: Any, settings: Settings, clock: Callable[[], float]) -> float | None:
    """Return this machine's clock minus that of AWS, in seconds. A response's ``Date`` has whole seconds, so half a
    second is added.
    """
    before = clock()
    try:
        answer = client.describe_table(TableName=settings.job_table)
    except client.exceptions.ClientError as error:  # no such table, or access denied: that response has a date too
        answer = error.response
    after = clock()
    date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    if not date:
        return None
    server_time = parsedate_to_datetime(date).timestamp()
    if server_time <= before and after < server_time + 1:
        return 0.0
    return (before + after) / 2 - (server_time + 0.5)


# --- SQS
def _queue(client: Any, settings: Settings, name: str) -> DeployedQueue:
    return DeployedQueue(
        _attributes(client, settings.physical_name(name), settings.queue_urls.get(name)),
        _attributes(client, settings.dead_letter_name(name), settings.dead_letter_url(name)),
    )


def _attributes(client: Any, name: str, url: str | None) -> dict[str, str] | None:
    try:
        url = url or client.get_queue_url(QueueName=name)["QueueUrl"]
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"].endswith(("NonExistentQueue", "QueueDoesNotExist")):
            return None
        raise
    return {str(key): str(value) for key, value in answer.get("Attributes", {}).items()}
