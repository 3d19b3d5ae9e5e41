"""Payloads and results as compact JSON text: exact for floats, cheaper than DynamoDB maps, checked before any write."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from jobs.errors import InvalidPayload, PayloadTooLarge
from jobs.model import Attempt, Failure, FailureKind


def encode(value: Any, *, what: str = "payload", limit: int | None = None) -> str:
    """Write a value as compact JSON.

    Parameters
    ----------
    value
        Anything JSON carries exactly: ``None``, booleans, numbers, text, lists, and maps whose keys are text.
    what : str
        Word for the value in an error.
    limit : int, optional
        Bytes of UTF-8 that are allowed.

    Raises
    ------
    InvalidPayload
        NaN, infinity, bytes, keys that are no text, or an object that JSON does not know; names the place.
    PayloadTooLarge
        Longer than ``limit``.
    """
    _refuse_inexact(value, what, depth=0)
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPayload(f"{what} cannot be written as JSON: {error}; pass plain JSON values") from error
    if limit is not None and size > limit:
        raise PayloadTooLarge(
            f"{what} takes {size} bytes, {limit} are allowed; store the data elsewhere (S3) and pass a reference, or raise "
            f"JOBCLAIM_MAX_{what.upper()}_BYTES"
        )
    return text


def decode(text: str) -> Any:
    """Read a value that `encode` wrote."""
    return json.loads(text)


def encode_failure(failure: Failure) -> str:
    """Write a failure; empty fields are left out."""
    return json.dumps(_failure_dict(failure), separators=(",", ":"), ensure_ascii=False)


def decode_failure(text: str) -> Failure:
    """Read a failure that `encode_failure` wrote."""
    return _failure(json.loads(text))


def encode_history(history: tuple[Attempt, ...]) -> str:
    """Write ended attempts, oldest first; empty fields are left out."""
    rows = []
    for entry in history:
        row = {key: value for key, value in asdict(entry).items() if value and key != "failure"}
        if entry.failure:
            row["failure"] = _failure_dict(entry.failure)
        rows.append(row)
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def decode_history(text: str) -> tuple[Attempt, ...]:
    """Read what `encode_history` wrote."""
    return tuple(
        Attempt(**{**row, "failure": _failure(row["failure"]) if "failure" in row else None}) for row in json.loads(text)
    )


def _failure_dict(failure: Failure) -> dict[str, Any]:
    return {key: value for key, value in asdict(failure).items() if value}


def _failure(row: dict[str, Any]) -> Failure:
    return Failure(**{"message": "", **row, "kind": FailureKind(row["kind"])})


def _refuse_inexact(value: Any, path: str, depth: int) -> None:
    """Walk the value: ``json.dumps`` would turn keys that are no text into text without a word."""
    if depth > 100:
        raise InvalidPayload(f"{path} is nested more than 100 deep; flatten it")
    if value is None or isinstance(value, (str, bool, int, float)):
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidPayload(f"{path} has the key {key!r} of type {type(key).__name__}; JSON keys are text")
            _refuse_inexact(inner, f"{path}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _refuse_inexact(inner, f"{path}[{index}]", depth + 1)
    else:
        raise InvalidPayload(
            f"{path} is of type {type(value).__name__}, which JSON does not know; convert it first "
            "(bytes to base64 text, dates to ISO text, objects to maps)"
        )
