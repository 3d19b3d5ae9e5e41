"""Values that JSON does not support, in the form of kombu's JSON: ``{"__type__": …, "__value__": …}``.

What a plain Celery task takes and returns under the JSON serializer is stored here as the same text, so that a task
that becomes a job sees the same values. ``jobs`` does not import kombu, hence this second copy of its rules; a test
keeps the two in step.
"""

from __future__ import annotations

import base64
import sys
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

RICH: Final = (datetime, date, time, Decimal, uuid.UUID, bytes)
"""Supported types beyond JSON's own."""
TYPE: Final = "__type__"
VALUE: Final = "__value__"
KEYS: Final = frozenset({TYPE, VALUE})


def tag(value: Any) -> Any:
    """Write a value of a type in `RICH`, or the replacement that its ``__json__`` returns.

    Raises
    ------
    TypeError
        The type is not supported.
    """
    if (own := getattr(value, "__json__", None)) is not None:
        return own()
    if is_lazy_text(value):
        return str(value)
    for kind, (marker, write) in _WRITERS.items():
        if isinstance(value, kind):
            return {TYPE: marker, VALUE: write(value)}
    if isinstance(value, bytes):
        return _tag_bytes(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def untag(value: dict[str, Any]) -> Any:
    """Read what `tag` wrote; a map that only looks like it, for instance in an older payload, stays a map."""
    if TYPE not in value or value.keys() != KEYS:
        return value
    try:
        return _READERS[value[TYPE]](value[VALUE])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return value


def is_lazy_text(value: Any) -> bool:
    """Check whether a value is one of Django's lazily translated texts."""
    functional = sys.modules.get("django.utils.functional")  # without this module there are no such texts
    return functional is not None and isinstance(value, functional.Promise)


def _tag_bytes(value: bytes) -> dict[str, str]:
    try:
        return {TYPE: "bytes", VALUE: value.decode()}
    except UnicodeDecodeError:
        return {TYPE: "base64", VALUE: base64.b64encode(value).decode()}


_WRITERS: Final[Mapping[type, tuple[str, Callable[[Any], Any]]]] = {
    datetime: ("datetime", datetime.isoformat),  # before date, because a datetime is a date, too
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    Decimal: ("decimal", str),
    uuid.UUID: ("uuid", lambda value: {"hex": value.hex}),
}
_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "datetime": datetime.fromisoformat,
    "date": lambda text: datetime.fromisoformat(text).date(),
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda parts: uuid.UUID(**parts),
    "bytes": lambda text: text.encode(),
    "base64": lambda text: base64.b64decode(text.encode()),
}
