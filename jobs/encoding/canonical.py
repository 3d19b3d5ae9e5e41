"""Canonical JSON: equal values, as defined in `jobclaim.jobs.idempotency`, have equal text."""

from __future__ import annotations

import json
from typing import Any

from jobclaim.jobs.encoding import codec


def canonical(value: Any) -> str:
    """Write a value as canonical JSON: equal values, as defined above, have equal text.

    Raises
    ------
    InvalidPayload
        JSON cannot carry the value exactly.
    """
    plain = json.loads(codec.encode(value, what="idempotent argument"))
    return json.dumps(_normal(plain), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _normal(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _normal(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(inner) for inner in value]
    return value
