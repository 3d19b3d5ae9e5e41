"""Records that an item holds as JSON: unknown fields are skipped, and known ones must have their type.

While a newer version is being deployed, old workers read its items. A value of another type would otherwise be found
far from here, where a list shows it, and hide all others from that list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any, Final, TypeVar

R = TypeVar("R")

CHECKED: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float | None": (int, float, type(None)),
}
"""Annotations whose values are checked; a field of any other type is what its caller makes it."""


def record(kind: Callable[..., R], row: Mapping[str, Any], /, **made: Any) -> R:
    """Build a dataclass from what an item holds; ``made`` are fields that the caller has read itself.

    Raises
    ------
    TypeError
        A value has another type than its field.
    """
    types = _types(kind)
    known = {name: value for name, value in row.items() if name in types}
    for name, value in known.items():
        if not isinstance(value, types[name]):
            raise TypeError(f"{name}={value!r} of {getattr(kind, '__name__', kind)} is of another type")
    return kind(**{**known, **made})


@lru_cache
def _types(kind: Any) -> dict[str, tuple[type, ...]]:
    return {field.name: CHECKED.get(str(field.type), (object,)) for field in fields(kind)}
