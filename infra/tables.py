"""The job table and the fleet table: create what is missing, repair what may be repaired, never delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from jobclaim.infra.errors import ProvisionError, TableMismatch
from jobclaim.infra.report import ProvisionRow
from jobclaim.jobs.encoding import schema
from jobclaim.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

POLL_SECONDS: Final = 0.2
USABLE: Final = ("ACTIVE", "UPDATING")
ATTRIBUTE_TYPES: Final = {
    schema.KEY: "S",
    schema.INDEX_HASH: "S",
    schema.INDEX_RANGE: "N",
    schema.FLEET_KEY: "S",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TableSpec:
    """Wanted shape of a table.

    Attributes
    ----------
    name : str
    key : str
        Hash key, a string.
    ttl : str
        Attribute with the time, epoch seconds, after which DynamoDB removes an item.
    index : str, optional
        Name of the `by_state` index, for the table that has it.
    setting : str
        Field of `Settings` that names the table; for messages.
    """

    name: str
    key: str
    ttl: str
    setting: str
    index: str | None = None


def table_specs(settings: Settings) -> tuple[TableSpec, ...]:
    """Return the tables that these settings need."""
    return (
        TableSpec(settings.job_table, schema.KEY, schema.TTL, "job_table", schema.INDEX),
        TableSpec(settings.fleet_table, schema.FLEET_KEY, schema.FLEET_TTL, "fleet_table"),
    )


def ensure_table(client: DynamoDBClient, spec: TableSpec, wait_seconds: float) -> Iterator[ProvisionRow]:
    """Create or update one table; safe to run concurrently.

    Raises
    ------
    TableMismatch
        The table exists with another key or another index key.
    ProvisionError
        The table or its index was not ready within `wait_seconds`.
    """
    created = _describe(client, spec) is None and _create(client, spec)
    table = _await_table(client, spec, wait_seconds)
    _check_key(table, spec)
    billing = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    if created:
        yield ProvisionRow(spec.name, "table", "created", f"key {spec.key}, on demand")
    elif billing != "PAY_PER_REQUEST":
        detail = "has provisioned capacity; switch to on demand if that is not intended"
        yield ProvisionRow(spec.name, "table", "left", detail)
    else:
        yield ProvisionRow(spec.name, "table", "unchanged")
    if spec.index:
        yield _ensure_index(client, spec, wait_seconds, created=created)
    yield _ensure_expiry(client, spec)


def _describe(client: DynamoDBClient, spec: TableSpec) -> dict[str, Any] | None:
    try:
        return dict(client.describe_table(TableName=spec.name)["Table"])
    except client.exceptions.ResourceNotFoundException:
        return None


def _create(client: DynamoDBClient, spec: TableSpec) -> bool:
    """Create the table; return False if another process created it first."""
    request: dict[str, Any] = {
        "TableName": spec.name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": spec.key, "KeyType": "HASH"}],
        "AttributeDefinitions": _attribute_types(spec.key),
    }
    if spec.index:
        request["GlobalSecondaryIndexes"] = [_index_request(spec)]
        request["AttributeDefinitions"] = _attribute_types(spec.key, schema.INDEX_HASH, schema.INDEX_RANGE)
    try:
        client.create_table(**request)
    except client.exceptions.ResourceInUseException:
        return False
    return True


def _attribute_types(*names: str) -> list[Any]:
    return [{"AttributeName": name, "AttributeType": ATTRIBUTE_TYPES[name]} for name in names]


def _index_request(spec: TableSpec) -> dict[str, Any]:
    return {
        "IndexName": spec.index,
        "KeySchema": _index_key(),
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }


def _index_key() -> list[dict[str, str]]:
    return [
        {"AttributeName": schema.INDEX_HASH, "KeyType": "HASH"},
        {"AttributeName": schema.INDEX_RANGE, "KeyType": "RANGE"},
    ]


def _check_key(table: dict[str, Any], spec: TableSpec) -> None:
    found = _key_in_words(table["KeySchema"], table)
    expected = f"{spec.key} (HASH, S)"
    if found != expected:
        raise TableMismatch(
            f"table {spec.name!r} exists with the key {found}, but jobclaim needs {expected}; the table was not "
            f"changed. Name another one in {spec.setting} (JOBCLAIM_{spec.setting.upper()})"
        )


def _key_in_words(key: list[dict[str, str]], table: dict[str, Any]) -> str:
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    names = [(part["AttributeName"], part["KeyType"]) for part in key]
    return " + ".join(f"{name} ({kind}, {types.get(name)})" for name, kind in names)


# --- index
def _ensure_index(client: DynamoDBClient, spec: TableSpec, wait_seconds: float, *, created: bool) -> ProvisionRow:
    added: list[bool] = []

    def look() -> tuple[dict[str, Any], dict[str, Any]] | None:
        table = _describe(client, spec) or {}
        index = _find_index(table, spec)
        if index is None and table:
            added.append(_add_index(client, spec, table))
        return (table, index) if index and index["IndexStatus"] in USABLE else None

    table, index = _await(look, wait_seconds, f"index {spec.index!r} of table {spec.name!r} was not ACTIVE")
    found = _key_in_words(index["KeySchema"], table)
    expected = f"{schema.INDEX_HASH} (HASH, S) + {schema.INDEX_RANGE} (RANGE, N)"
    if found != expected:
        raise TableMismatch(
            f"index {spec.index!r} of table {spec.name!r} has the key {found}, but jobclaim needs {expected}; the "
            f"index was not changed. Delete it and run `jobclaim up` again, or name another table in {spec.setting}"
        )
    projection = index["Projection"].get("ProjectionType")
    if projection != "KEYS_ONLY":
        detail = f"{spec.index} projects {projection}, not KEYS_ONLY, so claims cost index writes"
        return ProvisionRow(spec.name, "index", "left", detail)
    if created or any(added):
        return ProvisionRow(spec.name, "index", "created", f"{spec.index}, keys only")
    return ProvisionRow(spec.name, "index", "unchanged", str(spec.index))


def _find_index(table: dict[str, Any], spec: TableSpec) -> dict[str, Any] | None:
    return next((index for index in table.get("GlobalSecondaryIndexes", []) if index["IndexName"] == spec.index), None)


def _add_index(client: DynamoDBClient, spec: TableSpec, table: dict[str, Any]) -> bool:
    """Add the index to an existing table; return False if another process is adding it."""
    request = _index_request(spec)
    throughput = table.get("ProvisionedThroughput", {})
    if throughput.get("ReadCapacityUnits"):  # a provisioned table requires the same of its index
        request["ProvisionedThroughput"] = {
            unit: throughput[unit] for unit in ("ReadCapacityUnits", "WriteCapacityUnits")
        }
    try:
        client.update_table(
            TableName=spec.name,
            AttributeDefinitions=_attribute_types(spec.key, schema.INDEX_HASH, schema.INDEX_RANGE),
            GlobalSecondaryIndexUpdates=[{"Create": request}],  # type: ignore[typeddict-item]
        )
    except (client.exceptions.ResourceInUseException, client.exceptions.LimitExceededException):
        return False
    except client.exceptions.ClientError:
        if _find_index(_describe(client, spec) or {}, spec):
            return False
        raise
    return True


# --- expiry
def _ensure_expiry(client: DynamoDBClient, spec: TableSpec) -> ProvisionRow:
    if _expires_as_wanted(client, spec):
        return ProvisionRow(spec.name, "expiry", "unchanged", spec.ttl)
    desired = {"Enabled": True, "AttributeName": spec.ttl}
    try:
        client.update_time_to_live(TableName=spec.name, TimeToLiveSpecification=desired)  # type: ignore[arg-type]
    except client.exceptions.ClientError:
        if _expires_as_wanted(client, spec):  # another process was first
            return ProvisionRow(spec.name, "expiry", "unchanged", spec.ttl)
        raise
    return ProvisionRow(spec.name, "expiry", "created", f"items expire at {spec.ttl}")


def _expires_as_wanted(client: DynamoDBClient, spec: TableSpec) -> bool:
    """Return whether expiry is on; raise if another attribute uses the table's only expiry."""
    now = _expires_by(client, spec)
    if now not in (None, spec.ttl):
        raise TableMismatch(
            f"table {spec.name!r} expires its items by attribute {now!r}, but jobclaim needs {spec.ttl!r}; the table "
            "was not changed. Switch that off (DynamoDB takes up to an hour) and run `jobclaim up` again, or name "
            f"another table in {spec.setting}"
        )
    return now is not None


def _expires_by(client: DynamoDBClient, spec: TableSpec) -> str | None:
    expiry = client.describe_time_to_live(TableName=spec.name)["TimeToLiveDescription"]
    return expiry.get("AttributeName") if expiry.get("TimeToLiveStatus") in ("ENABLED", "ENABLING") else None


# --- waiting
def _await_table(client: DynamoDBClient, spec: TableSpec, seconds: float) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        table = _describe(client, spec)
        return table if table and table["TableStatus"] in USABLE else None

    return _await(look, seconds, f"table {spec.name!r} was not ACTIVE")


def _await(look: Callable[[], T | None], seconds: float, complaint: str) -> T:
    """Poll until there is a value, for `seconds` at most."""
    from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_exponential

    retrying = Retrying(
        retry=retry_if_result(lambda found: found is None),
        stop=stop_after_delay(seconds),
        wait=wait_exponential(multiplier=POLL_SECONDS, max=3),
    )
    try:
        found = retrying(look)
    except RetryError:
        raise ProvisionError(
            f"{complaint} after {seconds:g} s; DynamoDB continues, so run `jobclaim up` again later"
        ) from None
    assert found is not None  # tenacity ends with a value or raises
    return found
