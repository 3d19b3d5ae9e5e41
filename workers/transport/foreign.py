"""Describe messages that Celery did not send as JSON, and the remedy: the reason on their dead letters.

A reason names kinds and never values, which may be a task's arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

SET_JSON: Final = "have its sender set task_serializer = 'json' (docs/migration.md), then send it again"
SUBMIT: Final = "have its sender call the task (delay, apply_async), or use `jobclaim submit` or JobRepo.create_job"
CONTENT_TYPES: Final[Mapping[str, str]] = {
    "application/x-python-serialize": "a pickled call, and unpickling runs code from the message: {json}",
    "application/x-yaml": "a YAML call: {json}",
    "application/x-msgpack": "a msgpack call: {json}",
    "application/x-msgpack-numpy": "a msgpack call: {json}",
    "application/data": "raw bytes (kombu's serializer 'raw'): {json}",
    "text/plain": "plain text: {json}",
}
"""The kind of a call, by kombu's content type."""
TOKEN: Final = re.compile(r"[\w.+-]{1,40}/[\w.+-]{1,40}", re.ASCII)
PICKLED: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
YAML: Final = re.compile(r"(---\s|[A-Za-z_][\w-]*:(\s|$)|- )")
SERVICES: Final[tuple[tuple[frozenset[str], str], ...]] = (
    (frozenset({"Records"}), "a notification of an AWS service (S3, SES or the like): {own}"),
    (frozenset({"TopicArn", "Message"}), "a notification of SNS: {own}"),
    (frozenset({"detail-type", "detail"}), "an event of EventBridge: {own}"),
    (frozenset({"Event", "Bucket"}), "a test notification of S3: {own}"),
)
"""AWS's own messages, by their keys."""
OWN_QUEUE: Final = "send it to a queue of its own, and submit a job from the program that reads that queue"


def of_content_type(value: Any) -> str:
    """Return the name of a call's kind, by its content type."""
    if value in CONTENT_TYPES:
        return f"it is {CONTENT_TYPES[value].format(json=SET_JSON)}"
    named = value if isinstance(value, str) and TOKEN.fullmatch(value) else "nothing" if value is None else "no type"
    return f"its content type is {named}, and only application/json is accepted: {SET_JSON}"


def of_object(message: Mapping[str, Any]) -> str:
    """Describe a JSON object that is not a message of kombu."""
    for names, kind in SERVICES:
        if names <= message.keys():
            return f"it is {kind.format(own=OWN_QUEUE)}"
    return f"it is bare JSON, not a Celery message: {SUBMIT}"


def of_value(value: Any) -> str:
    """Describe a JSON value that is not an object."""
    kind = "null" if value is None else type(value).__name__
    return f"it is bare JSON ({kind}), not a Celery message: {SUBMIT}"


def of_bytes(data: bytes) -> str:
    """Describe base64 content that is not text."""
    if data[:2] in PICKLED:
        return f"it is pickled data, which is never read: {SET_JSON}"
    if data[:1] and (0x80 <= data[0] <= 0x9F or data[0] in (0xDC, 0xDD, 0xDE, 0xDF)):
        return f"it is msgpack or other binary data: {SET_JSON}"
    return f"it is binary data: {SET_JSON}"


def of_text(text: str) -> str:
    """Describe text that is not JSON."""
    if YAML.match(text.lstrip()):
        return f"it is YAML or other text, not a Celery message: {SUBMIT}"
    if text.lstrip()[:1] in ("{", "["):
        return f"it is truncated or broken JSON: {SUBMIT}"
    return f"it is plain text, not a Celery message: {SUBMIT}"


def of_protocol_one() -> str:
    """Describe a message without Celery's headers."""
    return "it uses Celery's message protocol 1: have its sender set task_protocol = 2, then send it again"
