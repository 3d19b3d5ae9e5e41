"""Check whether two uses of a step's name are the same call, by the function's name and a hash of its arguments."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any, Final

from jobclaim.jobs.encoding.canonical import canonical
from jobclaim.jobs.errors import InvalidInput, InvalidPayload, StepMismatch
from jobclaim.jobs.kept import Step

DIGITS: Final = 16
"""Hexadecimal digits of an argument hash: 64 bits distinguish the calls of one name."""

LONGEST: Final = 200
"""Maximum length of a stored function name; its end is kept."""


def name_of(function: Any) -> str:
    """Return a function's dotted name; for a partial, the name of the function that it calls.

    Raises
    ------
    InvalidInput
        The object is not callable.
    """
    if not callable(function):
        raise InvalidInput(
            f"a step needs a function, not {type(function).__name__} ({function!r}); pass the function and its "
            "arguments: self.step('charge', charge_card, order_id)"
        )
    if isinstance(function, partial):
        return name_of(function.func)
    named = function if hasattr(function, "__qualname__") else type(function)
    module = getattr(named, "__module__", None) or "builtins"
    return f"{module}.{named.__qualname__}"[-LONGEST:]


def hash_of(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Hash the arguments of a call. Arguments that JSON cannot carry count by their type alone."""
    while isinstance(function, partial):
        args, kwargs, function = (*function.args, *args), {**function.keywords, **kwargs}, function.func
    text = canonical([[_plain(value) for value in args], {key: _plain(value) for key, value in kwargs.items()}])
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def check_same_call(known: Step, function: str, arguments: str) -> None:
    """Refuse to reuse the name of a finished step for a different call.

    Raises
    ------
    StepMismatch
    """
    if known.function == function and known.arguments == arguments:
        return
    differs = (
        f"ran {known.function}, not {function}"
        if known.function != function
        else f"ran {function} with other arguments"
    )
    raise StepMismatch(
        f"step {known.name!r} {differs} in attempt {known.attempt}; give this step another name (in a loop, add the "
        "index), or, if its code was changed, retry the job with `--clear-steps`"
    )


def _plain(value: Any) -> Any:
    """Return an argument as a value that has canonical JSON."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
        return dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    try:
        canonical(value)
    except InvalidPayload:
        return {"jobclaim:type": f"{type(value).__module__}.{type(value).__qualname__}"}
    return value
