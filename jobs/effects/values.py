"""Values of a caller's writes: plain Python or DynamoDB's typed form, distinguished without guessing.

A key and an item always contain a scalar, and in plain Python a scalar is not a map. So a call whose values are all
typed is typed, and one without typed values is plain. A mixture is a mistake that would store a map where a number was
meant, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from decimal import Decimal
from typing import Any, Final

from jobclaim.jobs.encoding.item import Item
from jobclaim.jobs.errors import InvalidEffect

KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "S": (str,),
    "N": (str,),
    "B": (bytes, bytearray),
    "SS": (list, tuple),
    "NS": (list, tuple),
    "BS": (list, tuple),
    "M": (dict,),
    "L": (list, tuple),
    "NULL": (bool,),
    "BOOL": (bool,),
}
"""DynamoDB's type names, and the Python types that hold each in a request."""


def is_typed(value: Any) -> bool:
    """Check whether a value is in DynamoDB's own form: ``{"S": "text"}``."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((kind, inner),) = value.items()
    return kind in KINDS and isinstance(inner, KINDS[kind])


def to_typed(groups: Mapping[str, Mapping[str, Any]], what: str) -> tuple[dict[str, Item], bool]:
    """Return a call's maps of values in DynamoDB's form, and whether the caller wrote plain Python.

    Parameters
    ----------
    groups : mapping
        Values by name, keyed by the parameter (``Key``, ``Item``, ``ExpressionAttributeValues``).
    what : str
        Name of the call in an error.

    Raises
    ------
    InvalidEffect
        A mixture of both forms, or a value type that DynamoDB does not support.
    """
    typed = {
        f"{group}[{name!r}]": is_typed(value) for group, values in groups.items() for name, value in values.items()
    }
    if all(typed.values()):
        return {group: dict(values) for group, values in groups.items()}, False
    if mixed := [place for place, is_one in typed.items() if is_one]:
        plain = next(place for place, is_one in typed.items() if not is_one)
        raise InvalidEffect(
            f"{what}: {mixed[0]} is in DynamoDB's typed form and {plain} is a plain Python value; use one form for "
            'all of them (a map of your own that looks typed must be in the typed form: {"M": {...}})'
        )
    made = {}
    for group, values in groups.items():
        made[group] = {name: _typed(value, f"{what}: {group}[{name!r}]") for name, value in values.items()}
    return made, True


def to_plain(item: Item) -> dict[str, Any]:
    """Return an item's values as plain Python, with numbers as `Decimal`, as boto3's resources do."""
    from boto3.dynamodb.types import TypeDeserializer

    deserialize: Any = TypeDeserializer().deserialize
    return {name: deserialize(value) for name, value in item.items()}


def size(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the size of an item in bytes as DynamoDB counts it (AWS, "DynamoDB item sizes and formats")."""
    return sum(len(name.encode()) + _size_of(value) for name, value in item.items())


def _typed(value: Any, place: str) -> dict[str, Any]:
    from boto3.dynamodb.types import TypeSerializer

    try:
        typed: Any = TypeSerializer().serialize(_exact(value))
    except Exception as error:
        raise InvalidEffect(
            f"{place} cannot be stored in DynamoDB: {error}; pass text, bytes, numbers, booleans, None, non-empty "
            "sets of one type, and lists and maps of these (a date as text)"
        ) from error
    return dict(typed)


def _exact(value: Any) -> Any:
    """Convert floats to the decimal that Python shows for them, which DynamoDB stores exactly."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Mapping):
        return {name: _exact(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(inner) for inner in value]
    if isinstance(value, Set):
        if not value:
            raise ValueError("an empty set, which DynamoDB does not store")
        return {_exact(inner) for inner in value}
    return value


def _size_of(value: Mapping[str, Any]) -> int:
    ((kind, raw),) = value.items()
    if kind == "N":
        return _size_of_number(raw)
    if kind == "M":
        return 3 + size(raw) + len(raw)
    if kind == "L":
        return 3 + sum(1 + _size_of(inner) for inner in raw)
    if kind in ("SS", "BS"):
        return sum(_octets(inner) for inner in raw)
    if kind == "NS":
        return sum(map(_size_of_number, raw))
    return _octets(raw) if kind in ("S", "B") else 1


def _octets(raw: str | bytes) -> int:
    return len(raw.encode("utf-8", "replace")) if isinstance(raw, str) else len(raw)


def _size_of_number(text: str) -> int:
    digits = text.lstrip("-").partition("E")[0].replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1


def canonical(value: Any) -> Any:
    """Return a typed value as JSON can hold it, with sets in a fixed order, so that equal writes have equal text."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {name: canonical(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        inside = [canonical(inner) for inner in value]
        is_set = all(isinstance(inner, str) for inner in inside)  # a list holds typed values, which are maps
        return sorted(inside) if is_set else inside
    return value
