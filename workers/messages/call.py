"""A call of a task as a payload and back: positional and keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def to_payload(args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Make the payload of a job that calls a task."""
    return {"args": list(args or ()), "kwargs": dict(kwargs or {})}


def from_payload(payload: Any) -> tuple[list[Any], dict[str, Any]]:
    """Read a call. Any other map is keyword arguments, any other value the only argument, and a missing payload no
    arguments.
    """
    if isinstance(payload, Mapping):
        if payload.keys() == {"args", "kwargs"}:
            return list(payload["args"]), dict(payload["kwargs"])
        return [], dict(payload)
    return ([], {}) if payload is None else ([payload], {})
