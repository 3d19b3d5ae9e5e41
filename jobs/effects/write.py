"""One of a caller's writes, in DynamoDB's own terms, checked as far as possible without a request."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.jobs.effects.values import size, to_typed
from jobclaim.jobs.encoding.item import Item
from jobclaim.jobs.errors import InvalidEffect
from jobclaim.specs.refusals import did_you_mean

NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "Put": ("TableName", "Item"),
    "Update": ("TableName", "Key", "UpdateExpression"),
    "Delete": ("TableName", "Key"),
    "ConditionCheck": ("TableName", "Key", "ConditionExpression"),
}
"""Operations of TransactWriteItems, and the required parameters of each."""
OPTIONAL: Final = (
    "ConditionExpression",
    "ExpressionAttributeNames",
    "ExpressionAttributeValues",
    "ReturnValuesOnConditionCheckFailure",
)
VALUES: Final = ("Key", "Item", "ExpressionAttributeValues")
"""Parameters that hold values."""
METHODS: Final[Mapping[str, str]] = {"Put": "put", "Update": "update", "Delete": "delete", "ConditionCheck": "check"}
ITEM_LIMIT: Final = 400 * 1024
"""Maximum bytes of an item (AWS, "Quotas in Amazon DynamoDB")."""
KEY_ATTRIBUTES: Final = 2
_NAMED_BY_CONDITION: Final = re.compile(r"attribute_(?:not_)?exists\s*\(\s*([#\w.-]+)\s*\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Write:
    """One operation of a transaction.

    Attributes
    ----------
    operation : str
        ``Put``, ``Update``, ``Delete`` or ``ConditionCheck``.
    request : dict
        Its arguments, values in DynamoDB's typed form.
    is_plain : bool
        Whether the caller wrote plain Python values, and gets values back in that form.
    what : str
        The caller's call, for an error: ``effects.put``.
    """

    operation: str
    request: dict[str, Any]
    is_plain: bool = False
    what: str = ""

    @property
    def table(self) -> str:
        """Name of the table as the caller wrote it: a name, or an ARN."""
        return str(self.request["TableName"])

    @property
    def table_name(self) -> str:
        """Name of the table without the ARN prefix."""
        return self.table.rpartition(":table/")[2].partition("/")[0]

    @property
    def octets(self) -> int:
        """Minimum bytes that the write adds to its transaction."""
        return size(self.request.get("Item") or self.request["Key"])

    def as_item(self) -> dict[str, Any]:
        """Return the write in the form of TransactWriteItems."""
        return {self.operation: self.request}

    def refuse_table(self, refused: Collection[str]) -> None:
        """Refuse to write to one of jobclaim's own tables. Raises `InvalidEffect`."""
        if self.table_name in refused:
            raise InvalidEffect(
                f"{self.what}: table {self.table_name!r} belongs to jobclaim, which alone writes its items; write to "
                "a table of your own (the result is stored when the job completes, and a new job is written by "
                "submitting it)"
            )

    def shown_key(self) -> Item:
        """Return what identifies the item: the key, or, for a put, the attributes that its condition refers to.

        Only the table knows which attributes of a put are the key. A put without a condition is never refused by one.
        """
        if "Key" in self.request:
            return dict(self.request["Key"])
        names = self.request.get("ExpressionAttributeNames", {})
        named = _NAMED_BY_CONDITION.findall(self.request.get("ConditionExpression", ""))
        item = self.request["Item"]
        return {name: item[name] for name in dict.fromkeys(names.get(one, one) for one in named) if name in item}


def make(
    operation: str, request: Mapping[str, Any], refused_tables: Collection[str] = (), collector: str = "effects"
) -> Write:
    """Check a request and build the write from it.

    Parameters
    ----------
    refused_tables : collection of str
        Tables that callers may not write to: jobclaim's own.

    Raises
    ------
    InvalidEffect
    """
    what = f"{collector}.{METHODS[operation]}"
    parameters = {name: value for name, value in request.items() if value is not None}
    _check_names(operation, parameters, what)
    parameters = _with_built_condition(parameters, what)
    groups: dict[str, Any] = {name: parameters[name] for name in VALUES if name in parameters}
    for name, values in groups.items():
        if not isinstance(values, Mapping) or not values or not all(isinstance(one, str) for one in values):
            raise InvalidEffect(f"{what}: {name}={values!r} must be a map of attributes that is not empty")
    typed, is_plain = to_typed(groups, what)
    write = Write(operation, {**parameters, **typed}, is_plain, what)
    write.refuse_table(refused_tables)
    _check_sizes(write, what)
    return write


def _check_names(operation: str, parameters: Mapping[str, Any], what: str) -> None:
    known = (*NEEDED[operation], *OPTIONAL)
    for name in parameters:
        if name not in known:
            raise InvalidEffect(
                f"{what} has no parameter {name!r}{did_you_mean(name, known)}; its parameters are DynamoDB's own in "
                f"TransactWriteItems: {', '.join(dict.fromkeys(known))}"
            )
    if missing := [name for name in NEEDED[operation] if name not in parameters]:
        raise InvalidEffect(f"{what} needs {', '.join(missing)}, as DynamoDB's {operation} does")
    for name in ("TableName", "UpdateExpression"):
        if name in parameters and not (isinstance(parameters[name], str) and parameters[name].strip()):
            raise InvalidEffect(f"{what}: {name}={parameters[name]!r} must be text")


def _with_built_condition(parameters: dict[str, Any], what: str) -> dict[str, Any]:
    """Expand a condition built with ``boto3.dynamodb.conditions``, as boto3's resources do."""
    condition = parameters.get("ConditionExpression")
    if condition is None or isinstance(condition, str):
        return parameters
    from boto3.dynamodb.conditions import ConditionBase, ConditionExpressionBuilder

    if not isinstance(condition, ConditionBase):
        raise InvalidEffect(f"{what}: ConditionExpression={condition!r} must be text, or Attr(...) of boto3")
    built = ConditionExpressionBuilder().build_expression(condition)
    names = {**parameters.get("ExpressionAttributeNames", {}), **built.attribute_name_placeholders}
    values = {**parameters.get("ExpressionAttributeValues", {}), **built.attribute_value_placeholders}
    optional = {"ExpressionAttributeNames": names, "ExpressionAttributeValues": values}
    return {
        **parameters,
        "ConditionExpression": built.condition_expression,
        **{name: value for name, value in optional.items() if value},
    }


def _check_sizes(write: Write, what: str) -> None:
    key = write.request.get("Key", {})
    if len(key) > KEY_ATTRIBUTES:
        raise InvalidEffect(
            f"{what}: Key has {len(key)} attributes, but a key has one or two; to store a whole item, pass it as Item "
            "to put"
        )
    if (octets := write.octets) > ITEM_LIMIT:
        raise InvalidEffect(
            f"{what}: the item for table {write.table_name!r} takes {octets:,} bytes, and DynamoDB stores at most "
            f"{ITEM_LIMIT:,}; store the large part elsewhere (S3) and write a reference"
        )
