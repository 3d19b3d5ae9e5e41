"""Hostile messages, through everything that a worker does with one."""

from __future__ import annotations

import base64
import zlib
from types import SimpleNamespace
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.request import create_request_cls
from kombu.message import Message as Wire
from kombu.transport.SQS import Channel as KombuChannel

from jobclaim.jobs.repo.claiming import EARLY_MS
from jobclaim.testing.harness import Message
from jobclaim.workers import JobTask
from jobclaim.workers.messages.message import headers as named
from jobclaim.workers.process.plain_request import PlainRequest
from jobclaim.workers.process.request import JobRequest
from jobclaim.workers.transport.inspect import Poison, bounded, build_message, read_envelope
from tests.fuzz.draw import Draw
from tests.fuzz.world import World
from tests.support.poison import envelope, wire

TASKS = ("fuzz.job", "fuzz.guarded", "fuzz.plain", "celery.starmap", "celery.chord_unlock", "jobclaim.chord", "no.such")
HEADERS = (
    "task",
    "id",
    "eta",
    "expires",
    "timelimit",
    "retries",
    "group",
    "chord",
    "root_id",
    "stamps",
    "compression",
    "jobclaim",
)


def one(world: World, draw: Draw) -> str:
    """Send one hostile message; give it as text."""
    body = _body(world, draw)
    queue = draw.random.choice(("default", "mail", "recovery"))
    try:
        read = bounded(read_envelope(body))
        message = build_message(lambda: _decode(read))
    except Poison:
        return body[:300]
    message.delivery_info["routing_key"] = queue
    task = world.app.tasks.get(message.headers["task"])
    if task is None:
        return body[:300]
    _receive(world, task, message, queue)
    return body[:300]


def _body(world: World, draw: Draw) -> str:
    random = draw.random
    head: dict[str, Any] = {"task": random.choice(TASKS)}
    if random.random() < 0.6 and world.victims:
        victim = random.choice(world.victims)
        head |= named(victim)
        if victim.available_at <= world.harness.clock() + EARLY_MS:  # its own message would start it, no attack
            head["task"] = random.choice([task for task in TASKS if task != victim.task])
        elif random.random() < 0.5:
            head |= {"task": victim.task, "id": victim.job_id}
    for _ in range(random.randrange(3)):
        head[random.choice(HEADERS)] = draw.value()
    call = [
        [draw.value()],
        {draw.name(): draw.value()},
        {"chain": [{"task": "fuzz.job"}]} if random.random() < 0.3 else {},
    ]
    made = envelope(call if random.random() < 0.8 else draw.value(), **head)
    if random.random() < 0.1:
        made[random.choice(tuple(made))] = draw.value()
    if random.random() < 0.1:
        made["body"] = base64.b64encode(zlib.compress(b"[" * random.randrange(1, 5_000_000), 9)).decode()
        made["headers"] = {**head, "compression": "zlib"}
    text = wire(made)
    return draw.broken(text.encode()).decode("latin-1") if random.random() < 0.2 else text


def _decode(read: dict[str, Any]) -> Any:
    """Make a kombu message as its channel does, without a connection."""
    channel: Any = SimpleNamespace(connection=None, body_encoding="base64", decode_body=_decoded)
    properties = dict(read["properties"])
    properties["delivery_info"] = {**dict(properties.get("delivery_info") or {}), "sqs_queue": "http://q"}
    properties["delivery_tag"] = "receipt"
    return _Message({**read, "properties": properties}, channel)


def _decoded(body: Any, encoding: Any) -> Any:
    return KombuChannel.codecs[encoding].decode(body) if encoding else body


class _Message(Wire):
    """A kombu message of the virtual transports, without their channel."""

    def __init__(self, payload: dict[str, Any], channel: Any) -> None:
        properties = payload["properties"]
        body = channel.decode_body(payload.get("body"), properties.get("body_encoding"))
        super().__init__(
            body=body,
            channel=channel,
            delivery_tag=properties["delivery_tag"],
            content_type=payload.get("content-type"),
            content_encoding=payload.get("content-encoding"),
            headers=payload.get("headers"),
            properties=properties,
            delivery_info=properties.get("delivery_info"),
            postencode="utf-8",
        )


def _receive(world: World, task: Any, message: Any, queue: str) -> None:
    """Make the request in the main process, then run it as a child does."""
    kind = JobRequest if isinstance(task, JobTask) else PlainRequest
    made = create_request_cls(kind, task, SimpleNamespace(apply_async=None), "vm", None, app=world.app)
    try:
        made(message, app=world.app, task=task, hostname="vm")
    except InvalidTaskError:
        return
    args, kwargs, embed = message.payload
    head = {name: value for name, value in message.headers.items() if name not in ("task", "id")}
    options = {"headers": {**(embed or {}), **head}}
    world.harness.deliver(Message(task.name, message.headers["id"], list(args), dict(kwargs), queue, 0, options))
