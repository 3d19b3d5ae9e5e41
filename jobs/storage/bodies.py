"""JSON of requests and answers: by orjson where it is installed, four times as fast as Python's own.

This is the JSON of DynamoDB's and SQS's protocol; payloads and results are text values in it, encoded elsewhere.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any, Final

ORJSON: Final = find_spec("orjson") is not None
"""Whether orjson is installed: ``pip install jobclaim[fast]``."""

if ORJSON:
    import orjson


def to_json(value: Any) -> bytes:
    """Return a request's body. Raises `TypeError` for values that have no JSON, such as bytes."""
    if ORJSON:
        try:
            return orjson.dumps(value)
        except orjson.JSONEncodeError:
            pass  # a lone surrogate, which json writes and DynamoDB then refuses; or a value that json refuses, too
    return json.dumps(value, separators=(",", ":")).encode()


def from_json(body: bytes) -> Any:
    """Return what an answer holds. Raises `ValueError` for what is not JSON."""
    return orjson.loads(body) if ORJSON else json.loads(body)
