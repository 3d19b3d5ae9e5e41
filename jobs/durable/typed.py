"""Typed results of steps: written as JSON values, read back by the function's annotation.

As with a task's arguments, an annotation that contains a pydantic model is used; any other leaves the value as JSON has
it. A step returns what was stored, in the attempt that ran it too, so that a body always sees the same kind of value.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from pydantic import BaseModel, PydanticUserError, TypeAdapter


def holds_model(annotation: Any) -> bool:
    """Check whether an annotation is a pydantic model, or contains one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(holds_model(inner) for inner in typing.get_args(annotation))


def to_json(value: Any, function: Callable[..., Any]) -> Any:
    """Return a step's result as JSON values, including models inside it."""
    adapter = _adapter_of(function)
    if adapter is not None:
        return adapter.dump_python(value, mode="json")
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def from_json(value: Any, function: Callable[..., Any]) -> Any:
    """Return a stored result in the type that the function is annotated with.

    Raises
    ------
    pydantic.ValidationError
        The result was stored by another version of the function and does not match this version's annotation.
    """
    adapter = _adapter_of(function)
    return value if adapter is None else adapter.validate_python(value)


def _adapter_of(function: Any) -> TypeAdapter[Any] | None:
    while isinstance(function, partial):
        function = function.func
    try:
        return _adapter(function)
    except TypeError:  # not hashable
        return None


@lru_cache(maxsize=256)
def _adapter(function: Any) -> TypeAdapter[Any] | None:
    try:
        annotation: Any = typing.get_type_hints(inspect.unwrap(function)).get("return")
    except (NameError, TypeError, AttributeError):
        return None  # names that only a type checker resolves
    if not holds_model(annotation):
        return None
    try:
        return TypeAdapter(annotation)
    except PydanticUserError:
        return None
