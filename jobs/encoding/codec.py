"""Payloads and results as compact JSON text: exact for floats, cheaper than DynamoDB maps, checked before any write.

Every value that kombu's JSON carries for a plain task is supported: see `jobclaim.jobs.encoding.tagged`. As in kombu,
keys that are numbers, booleans or ``None`` become text, tuples become lists, and NaN and infinity pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from jobclaim.jobs.encoding.rows import record
from jobclaim.jobs.encoding.tagged import RICH, is_lazy_text, tag, untag
from jobclaim.jobs.errors import InvalidPayload, PayloadTooLarge
from jobclaim.jobs.model import Attempt, Decision, Failure, FailureKind

MAX_DEPTH: Final = 100
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=tag).encode
_decode: Final = json.JSONDecoder(object_hook=untag).decode
"""Created once, because `json.dumps` and `json.loads` would create one per call with these options."""


def encode(value: Any, *, what: str = "payload", limit: int | None = None) -> str:
    """Write a value as compact JSON.

    Parameters
    ----------
    value
        ``None``, booleans, numbers, text, bytes, dates, times, decimals, UUIDs, and lists and maps of these.
    what : str
        Name of the value in an error.
    limit : int, optional
        Maximum bytes of UTF-8.

    Raises
    ------
    InvalidPayload
        Keys that JSON does not support or that become the same text, or an object of another type; names the place.
    PayloadTooLarge
        Longer than ``limit``.
    """
    _refuse_alien(value, what, depth=0)
    try:
        text = _encode(value)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPayload(f"{what} cannot be written as JSON: {error}; pass plain JSON values") from error
    if limit is not None:
        check_size(size, what, limit)
    return text


def check_size(size: int, what: str, limit: int) -> None:
    """Refuse a value of ``size`` bytes if that exceeds ``limit``. Raises `PayloadTooLarge`."""
    if size > limit:
        raise PayloadTooLarge(
            f"{what} takes {size} bytes, at most {limit} are allowed; store the data elsewhere (S3) and pass a "
            f"reference, or raise JOBCLAIM_MAX_{what.upper()}_BYTES"
        )


def cut(text: str, limit: int, *, from_end: bool = False) -> str:
    """Shorten text until it takes at most ``limit`` bytes as JSON; keep its beginning, or its end.

    A lone surrogate, which UTF-8 cannot carry, becomes a question mark; it stands, for example, for a byte of a command
    line that is not UTF-8.
    """
    text = text.encode("utf-8", "replace").decode()
    kept = text[-limit:] if from_end else text[:limit]  # a character takes one byte at least
    while (over := len(json.dumps(kept, ensure_ascii=False).encode()) - 2 - limit) > 0:
        drop = -(-over // 6)  # and at most six
        kept = kept[drop:] if from_end else kept[:-drop]
    return kept


def decode(text: str) -> Any:
    """Read a value that `encode` wrote."""
    return _decode(text)


def plain(value: Any) -> Any:
    """Return a value as `encode` writes it, in JSON's own types, for display; NaN and infinity become text."""
    return json.loads(encode(value), parse_constant=str)


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
        row = {key: value for key, value in asdict(entry).items() if value}
        if entry.failure:
            row["failure"] = _failure_dict(entry.failure)
        rows.append(row)
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def decode_history(text: str) -> tuple[Attempt, ...]:
    """Read what `encode_history` wrote."""
    return tuple(_attempt(row) for row in json.loads(text))


def encode_decisions(decisions: tuple[Decision, ...]) -> str:
    """Write decisions, oldest first; empty fields are left out."""
    rows = [{key: value for key, value in asdict(decision).items() if value} for decision in decisions]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def decode_decisions(text: str) -> tuple[Decision, ...]:
    """Read what `encode_decisions` wrote."""
    return tuple(record(Decision, {"verb": "", "by": "", **row}) for row in json.loads(text))


def decode_tags(text: str) -> tuple[str, ...]:
    """Read a job's tags."""
    return tuple(map(str, json.loads(text)))


def _failure_dict(failure: Failure) -> dict[str, Any]:
    return {key: value for key, value in asdict(failure).items() if value}


def _attempt(row: dict[str, Any]) -> Attempt:
    failure = _failure(row["failure"]) if "failure" in row else None
    return record(Attempt, {"attempt": 0, "outcome": "", **row}, failure=failure)


def _failure(row: dict[str, Any]) -> Failure:
    """Read a failure; unknown fields are skipped: old workers read a newer version's items during a deployment."""
    kind = row["kind"] if row["kind"] in _KINDS else FailureKind.PERMANENT
    return record(Failure, {"message": "", **row}, kind=FailureKind(kind))


_KINDS: Final = frozenset(FailureKind)
_PLAIN: Final = (str, bool, int, float, type(None))
_WITHOUT_PLACES: Final = (*_PLAIN, *RICH)


def _refuse_alien(value: Any, path: str, depth: int) -> None:
    """Raise `InvalidPayload` for a value that JSON cannot represent; the error names its place in the payload."""
    if type(value) is not dict and (isinstance(value, _WITHOUT_PLACES) or is_lazy_text(value)):
        return
    if depth > MAX_DEPTH:
        raise InvalidPayload(f"{path} is nested more than {MAX_DEPTH} levels deep; flatten it")
    if isinstance(value, dict):
        _refuse_keys(value, path)
        inside: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (list, tuple)):
        inside = enumerate(value)
    elif (own := getattr(value, "__json__", None)) is not None and not isinstance(value, type):
        inside = [("__json__", own())]
    else:
        raise InvalidPayload(
            f"{path} is of type {type(value).__name__}, which JSON cannot represent; convert it first (a set to a "
            "list, an object to a map, an enum to its value), or give a task typed arguments with validate=True"
        )
    for place, inner in inside:
        if not isinstance(inner, _PLAIN):  # most values are plain, and need no path
            _refuse_alien(inner, f"{path}[{place!r}]", depth + 1)


def _refuse_keys(value: dict[Any, Any], path: str) -> None:
    """Refuse keys that JSON cannot turn into text, and different keys with the same text."""
    others = [key for key in value if not isinstance(key, str)]
    for key in others:
        if not isinstance(key, _PLAIN):
            raise InvalidPayload(f"{path} has the key {key!r} of type {type(key).__name__}; JSON keys are text")
        if (text := next(iter(json.loads(json.dumps({key: 0}))))) in value:
            raise InvalidPayload(f"{path} has the keys {key!r} and {text!r}, which are the same in JSON; rename one")
