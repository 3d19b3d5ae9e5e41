"""Messages that no worker can run: a corpus by hand, and one by mutation of a good message."""

from __future__ import annotations

import base64
import copy
import json
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

Envelope = dict[str, Any]
Call = list[Any]


def envelope(call: Any = None, **headers: Any) -> Envelope:
    """A message as Celery sends it, not yet encoded."""
    named = str(uuid.uuid4())
    return {
        "body": encoded(json.dumps(call if call is not None else [[1], {}, {"callbacks": None, "errbacks": None}])),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "tests.note", "id": named, "root_id": named, "retries": 0, **headers},
        "properties": {
            "correlation_id": named,
            "delivery_info": {"exchange": "", "routing_key": "default"},
            "delivery_tag": str(uuid.uuid4()),
            "body_encoding": "base64",
            "priority": 0,
        },
    }


def encoded(text: str) -> str:
    """Base64 of a text."""
    return base64.b64encode(text.encode()).decode()


def wire(message: Any) -> str:
    """The body of the SQS message."""
    return encoded(json.dumps(message))


def with_call(call: Any) -> str:
    """A message with that call instead of ``[args, kwargs, embed]``."""
    return wire(envelope(call))


def with_headers(**headers: Any) -> str:
    """A message with these headers; ``...`` takes one away."""
    made = envelope()
    made["headers"] = {name: value for name, value in {**made["headers"], **headers}.items() if value is not ...}
    return wire(made)


def with_fields(**fields: Any) -> str:
    """A message with these fields of the envelope; ``...`` takes one away."""
    made = envelope() | {name.replace("_", "-"): value for name, value in fields.items()}
    return wire({name: value for name, value in made.items() if value is not ...})


def with_properties(**properties: Any) -> str:
    """A message with these properties."""
    made = envelope()
    made["properties"] |= properties
    return wire(made)


CORPUS: dict[str, str] = {
    "one letter": "x",
    "blank": "   ",
    "plain text": "hello, is this thing on?",
    "base64 of bytes": base64.b64encode(bytes(range(256))).decode(),
    "base64 of text": encoded("hello"),
    "base64 with a hole": encoded("{}")[:-1] + "!",
    "half of a message": wire(envelope())[:100],
    "JSON null": wire(None),
    "JSON number": wire(17),
    "JSON text": wire("text"),
    "JSON list": wire([1, 2, 3]),
    "JSON, cut off": encoded('{"body": "e30='),
    "plain JSON, cut off": '{"body": ',
    "empty object": wire({}),
    "plain empty object": "{}",
    "deep JSON": encoded("[" * 5000 + "]" * 5000),
    "an S3 event": json.dumps({"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "k"}}}]}),
    "an SNS notification": json.dumps({"Type": "Notification", "Message": "hi", "TopicArn": "arn:aws:sns:x"}),
    "protocol 1": wire({**envelope(), "headers": {}, "body": encoded('{"task": "tests.note", "id": "1", "args": []}')}),
    "no properties": with_fields(properties=...),
    "properties null": with_fields(properties=None),
    "properties a list": with_fields(properties=[]),
    "delivery_info a text": with_properties(delivery_info="default"),
    "delivery_info null": with_properties(delivery_info=None),
    "body_encoding unknown": with_properties(body_encoding="rot13"),
    "body_encoding a number": with_properties(body_encoding=64),
    "no body": with_fields(body=...),
    "body null": with_fields(body=None),
    "body an object": with_fields(body={"args": []}),
    "body no base64": with_fields(body="@@@"),
    "body base64 of bytes": with_fields(body=base64.b64encode(b"\xff\xfe\x00").decode()),
    "body no JSON": with_fields(body=encoded("not json")),
    "headers a list": with_fields(headers=[]),
    "headers a text": with_fields(headers="task"),
    "headers null": with_fields(headers=None),
    "headers empty": with_fields(headers={}),
    "content type pickle": with_fields(content_type="application/x-python-serialize"),
    "content type yaml": with_fields(content_type="application/x-yaml"),
    "content type missing": with_fields(content_type=...),
    "content type a number": with_fields(content_type=5),
    "compressed, but not": with_headers(compression="application/x-gzip"),
    "compressed by what has no bound": with_headers(compression="application/x-bz2"),
    "compression a list": with_headers(compression=["zlib"]),
    "compression unknown": with_headers(compression="zip of my own"),
    "no task": with_headers(task=...),
    "task null": with_headers(task=None),
    "task a list": with_headers(task=["tests.note"]),
    "task empty": with_headers(task=""),
    "task not registered": with_headers(task="tests.no_such_task"),
    "task with quotes": with_headers(task='tests."; DROP TABLE jobs'),
    "no id": with_headers(id=...),
    "id null": with_headers(id=None),
    "id a number": with_headers(id=12),
    "id an object": with_headers(id={}),
    "eta no date": with_headers(eta="tomorrow"),
    "eta a number": with_headers(eta=12.5),
    "expires no date": with_headers(expires="soon"),
    "expires a list": with_headers(expires=[1]),
    "timelimit a text": with_headers(timelimit="short"),
    "timelimit of three": with_headers(timelimit=[1, 2, 3]),
    "timelimit of texts": with_headers(timelimit=["a", "b"]),
    "retries a text": with_headers(retries="many"),
    "stamps a list": with_headers(stamps=[1]),
    "stamped_headers a number": with_headers(stamped_headers=4),
    "call null": wire({**envelope(), "body": encoded("null")}),
    "call a number": with_call(3),
    "call a text": with_call("abc"),
    "call an object": with_call({"a": 1}),
    "call of one": with_call([[]]),
    "call of two": with_call([[], {}]),
    "call of four": with_call([[], {}, {}, {}]),
    "args a text": with_call(["abc", {}, {}]),
    "args an object": with_call([{"0": 1}, {}, {}]),
    "args null": with_call([None, {}, {}]),
    "kwargs a list": with_call([[1], [], {}]),
    "kwargs a text": with_call([[1], "x=1", {}]),
    "kwargs null": with_call([[1], None, {}]),
    "embed a list": with_call([[1], {}, [1]]),
    "callbacks a text": with_call([[1], {}, {"callbacks": "tests.note"}]),
    "errbacks of numbers": with_call([[1], {}, {"errbacks": [1, 2]}]),
    "chain of texts": with_call([[1], {}, {"chain": ["tests.note"]}]),
    "chord a number": with_call([[1], {}, {"chord": 1}]),
}
"""By what is wrong with it. None of them names a job."""

VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "x",
    "\u2028\U0001f4a3",
    [],
    [1],
    {},
    {"a": [None]},
    [[], {}, {}],
]


def mutants(seed: int, count: int) -> Iterator[str]:
    """Good messages with one to three places changed at random; always the same ones for a seed."""
    draw = random.Random(seed)
    for _ in range(count):
        made, call = envelope(), [[1], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
        for _ in range(draw.randint(1, 3)):
            _change(draw, made, call)
        body = json.dumps(call)
        if isinstance(made.get("body"), str):
            made["body"] = encoded(body if draw.random() < 0.9 else body[: draw.randint(0, len(body))])
        yield _spoil(draw, wire(made))


def _change(draw: random.Random, made: Envelope, call: Call) -> None:
    places: list[Callable[[], Any]] = [
        lambda: made,
        lambda: made["headers"],
        lambda: made["headers"],
        lambda: made["properties"],
        lambda: call,
        lambda: call[-1],
    ]
    try:
        place = draw.choice(places)()
        key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if draw.random() < 0.3:
            del place[key]
        else:
            place[key] = copy.deepcopy(draw.choice(VALUES))
    except (KeyError, TypeError, IndexError):
        return  # an earlier change took that place away


def _spoil(draw: random.Random, body: str) -> str:
    """Now and then damage the encoded text too."""
    if draw.random() < 0.1:
        at = draw.randrange(len(body))
        return body[:at] + draw.choice("!x=\n") + body[at + 1 :]
    return body
