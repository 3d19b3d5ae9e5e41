"""Check whether Celery can run a message before it is passed on, so that no message can harm a worker."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from celery.utils.time import maybe_iso8601

from jobclaim.workers.messages.inflate import inflate
from jobclaim.workers.transport import foreign

CONTENT_TYPE: Final = "application/json"
INFLATED: Final = frozenset({"application/x-gzip", "gzip", "zlib"})
"""The accepted compression methods of kombu, all in zlib's format, which can be inflated up to a limit."""


class Poison(Exception):
    """A message that no worker can run; the text of the exception says why."""


def read_envelope(body: Any) -> dict[str, Any]:
    """Decode the body of an SQS message to kombu's envelope: a JSON object, as base64 or plain.

    Raises
    ------
    Poison
        The body is not an envelope.
    """
    if not isinstance(body, str) or not body:
        raise Poison("the body is empty")
    text = body if body.lstrip().startswith(("{", "[")) else _from_base64(body)
    try:
        envelope = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Poison(foreign.of_text(text)) from error
    if not isinstance(envelope, dict):
        raise Poison(foreign.of_value(envelope))
    if "properties" not in envelope:
        raise Poison(foreign.of_object(envelope))
    _check_envelope(envelope)
    return envelope


def bounded(envelope: dict[str, Any]) -> dict[str, Any]:
    """Inflate a compressed call up to a limit. kombu has no limit, so it is given the inflated call.

    Raises
    ------
    Poison
        Its method cannot be limited, it cannot be inflated, or it inflates beyond the limit.
    """
    headers = envelope.get("headers") or {}
    method = headers.get("compression")
    if not method:
        return envelope
    _must(isinstance(method, str), "header 'compression' is not text", method)
    if method not in INFLATED:
        raise Poison("the compression of the message is not accepted; send it with zlib, or without compression")
    properties = {**envelope["properties"], "body_encoding": "base64"}
    try:
        call = inflate(_decoded(envelope["body"], envelope["properties"].get("body_encoding")))
    except (ValueError, zlib.error) as error:
        raise Poison(f"the message cannot be decompressed: {error}") from error
    kept = {name: value for name, value in headers.items() if name != "compression"}
    return {**envelope, "body": base64.b64encode(call).decode(), "properties": properties, "headers": kept}


def _decoded(body: str, encoding: str | None) -> bytes:
    return base64.b64decode(body, validate=True) if encoding == "base64" else body.encode()


def build_message(make: Callable[[], Any]) -> Any:
    """Make a kombu message of an envelope, and check it.

    Raises
    ------
    Poison
    """
    try:
        message = make()
    except Exception as error:
        raise Poison(f"the message cannot be decoded: {type(error).__name__}: {error}") from error
    check_message(message)
    return message


def check_message(message: Any) -> None:
    """Check a kombu message: its content type, its headers, and that its payload is a call.

    Raises
    ------
    Poison
    """
    if message.content_type != CONTENT_TYPE:
        raise Poison(foreign.of_content_type(message.content_type))
    message.accept = {CONTENT_TYPE}
    if message.errors:
        raise Poison(f"the message cannot be decoded: {type(message.errors[0]).__name__}")
    if "task" not in message.headers:
        raise Poison(_without_headers(message))
    check_headers(message.headers)
    try:
        payload = message.payload
    except Exception as error:
        raise Poison(f"the call is not JSON: {type(error).__name__}: {error}") from error
    check_call(payload)


def check_headers(headers: Mapping[str, Any]) -> None:
    """Check the headers that Celery reads without a check.

    Raises
    ------
    Poison
    """
    for name in ("task", "id"):
        value = headers.get(name)
        _must(isinstance(value, str) and value != "", f"header {name!r} is not text", value)
    for name, fits, otherwise in HEADERS:
        value = headers.get(name)
        if value is not None and not fits(value):
            raise Poison(f"header {name!r} is not {otherwise} (found {_show(value)})")


def check_call(payload: Any) -> None:
    """Check that a payload is Celery's ``[args, kwargs, embed]``.

    Raises
    ------
    Poison
    """
    _must(isinstance(payload, list | tuple) and len(payload) == 3, "the call is not [args, kwargs, embed]", payload)
    args, kwargs, embed = payload
    _must(isinstance(args, list), "args is not a list", args)
    _must(isinstance(kwargs, dict), "kwargs is not an object", kwargs)
    _must(_is_optional(embed, dict), "embed is not an object", embed)
    for name in ("callbacks", "errbacks", "chain"):
        linked = (embed or {}).get(name)
        fits = linked is None or (isinstance(linked, list) and all(map(_is_signature, linked)))
        _must(fits, f"embed.{name} is not a list of signatures", linked)
    chord = (embed or {}).get("chord")
    _must(chord is None or _is_signature(chord), "embed.chord is not a signature", embed)


def _is_signature(linked: Any) -> bool:
    """Return whether a link has all fields that Celery reads, even if it only fails what follows the job."""
    fields = (("task", str), ("args", list), ("kwargs", dict), ("options", dict))
    return isinstance(linked, dict) and all(isinstance(linked.get(name), kind) for name, kind in fields)


def _check_envelope(envelope: Mapping[str, Any]) -> None:
    properties = envelope.get("properties")
    _must(isinstance(properties, dict), "it has no properties, so kombu did not send it", properties)
    assert isinstance(properties, dict)
    _must(isinstance(properties.get("delivery_info", {}), dict), "delivery_info is not an object", properties)
    encoding = properties.get("body_encoding")
    _must(encoding in (None, "base64", "utf-8"), "body_encoding is unknown", encoding)
    _must(isinstance(envelope.get("body"), str), "its call is not text", envelope.get("body"))
    _must(_is_optional(envelope.get("headers"), dict), "headers are not an object", envelope.get("headers"))
    for name in ("content-type", "content-encoding"):
        _must(_is_optional(envelope.get(name), str), f"{name} is not text", envelope.get(name))


def _from_base64(body: str) -> str:
    try:
        data = base64.b64decode(body.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Poison(foreign.of_text(body)) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Poison(foreign.of_bytes(data)) from error


def _without_headers(message: Any) -> str:
    """Return why a message without the header ``task`` is refused: Celery's first protocol, or another library, sent
    it.
    """
    try:
        payload = message.payload
    except Exception:  # noqa: BLE001 - a payload that cannot be decoded is not a call
        payload = None
    if isinstance(payload, dict) and "task" in payload:
        return foreign.of_protocol_one()
    return "header 'task' is missing, so another library sent it; submit the job instead (`jobclaim submit`)"


def _is_optional(value: Any, kind: type) -> bool:
    return value is None or isinstance(value, kind)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_time(value: Any) -> bool:
    """Return whether Celery can read a header as a time; it crashes over what `maybe_iso8601` makes ``None`` of."""
    try:
        return maybe_iso8601(value) is not None
    except (AttributeError, ValueError, TypeError, OverflowError):
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_limits(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_limit, value))


def _is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0)


def _are_stamps(value: Any) -> bool:
    return isinstance(value, dict)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


HEADERS: Final = (
    *((name, _is_text, "text") for name in ("root_id", "parent_id", "group", "shadow", "eta", "expires")),
    *((name, _is_time, "a time in ISO 8601") for name in ("eta", "expires")),
    *((name, _is_number, "a whole number") for name in ("retries", "replaced_task_nesting", "group_index")),
    ("timelimit", _are_limits, "a pair of numbers"),
    ("stamps", _are_stamps, "an object"),
    ("stamped_headers", _are_names, "a list of names"),
)
"""Of each header that Celery reads without a check, if it is there: whether a value fits, and what it must be."""


def _must(fits: bool, otherwise: str, found: Any) -> None:
    if not fits:
        raise Poison(f"{otherwise} (found {_show(found)})")


def _show(value: Any) -> str:
    """Return the kind of a value, never the value, which may be a task's argument."""
    return "nothing" if value is None else type(value).__name__
