"""Celery on SQS as its documentation sets it up, and what is put on top of it; ``BENCH_PEER`` chooses."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

import bodies
from celery import Celery, Task

PEER = os.environ["BENCH_PEER"]
QUEUE = os.environ["BENCH_QUEUE"]
BROKER = os.environ["BENCH_BROKER"]
DYNAMODB = os.environ["BENCH_DYNAMODB"]
REDIS = os.environ.get("BENCH_REDIS", "")
BODY_MS = 6_000
"""Shorter than the visibility timeout under faults, so that a message that is delivered again finds its time over."""


def _on_sqs() -> dict[str, Any]:
    address = urlsplit(BROKER)
    if PEER == "celery-tls":
        import botocore.httpsession

        # kombu's polls trust the authorities that botocore brings; boto3's clients read AWS_CA_BUNDLE
        botocore.httpsession.where = lambda: os.environ["AWS_CA_BUNDLE"]
    options = {
        "is_secure": address.scheme == "https",
        "region": "us-east-1",
        "predefined_queues": {QUEUE: {"url": f"{BROKER}/000000000000/{QUEUE}"}},
        "polling_interval": float(os.environ.get("BENCH_POLLING", "1")),
        "wait_time_seconds": 10,
    }
    if PEER == "celery-native-delay":
        options["eventbridge_role_arn"] = "arn:aws:iam::000000000000:role/scheduler"
        app.conf.broker_transport = "celery_sqs_native_delay:Transport"
    return {
        "broker_url": f"sqs://stub:stub@{address.netloc}",
        "broker_transport_options": options,
        "worker_enable_remote_control": False,
    }


app = Celery("peer", set_as_current=True)
app.conf.update(
    **({"broker_url": BROKER} if BROKER.startswith("redis:") else _on_sqs()),
    task_default_queue=QUEUE,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
    task_ignore_result=PEER != "celery-results",
    task_serializer="json",
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
)


def _base() -> type[Task]:
    if PEER in ("celery-late", "celery-powertools"):
        app.conf.task_acks_late = True
    if PEER == "celery-results":
        # no keys in the URL: with them its processes would share one connection, made before the fork
        app.conf.result_backend = f"dynamodb://@{urlsplit(DYNAMODB).netloc}/celery"
    if PEER == "celery-once":
        from celery_once import QueueOnce

        settings = {"url": REDIS, "default_timeout": 3600}
        app.conf.ONCE = {"backend": "celery_once.backends.Redis", "settings": settings}
        return QueueOnce  # type: ignore[no-any-return]
    if PEER == "celery-singleton":
        from celery_singleton import Singleton

        app.conf.singleton_backend_url = REDIS
        return Singleton  # type: ignore[no-any-return]
    return Task  # type: ignore[no-any-return]


BASE = _base()


class _Deadline:
    """What Powertools asks of a Lambda context: the time a body may take, after which another attempt may start."""

    def get_remaining_time_in_millis(self) -> int:
        return BODY_MS


def _once(body: Any) -> Any:
    """Wrap a body in Powertools' idempotency if that is the peer; its records are keyed by the arguments."""
    if PEER != "celery-powertools":
        return body
    import boto3
    from aws_lambda_powertools.utilities.idempotency import (
        DynamoDBPersistenceLayer,
        IdempotencyConfig,
        idempotent_function,
    )

    layer = DynamoDBPersistenceLayer("powertools", boto3_client=boto3.client("dynamodb", endpoint_url=DYNAMODB))
    config: Any = IdempotencyConfig(lambda_context=_Deadline())

    @idempotent_function(data_keyword_argument="call", persistence_store=layer, config=config)
    def once(call: dict[str, Any]) -> Any:
        return body(**call)

    def run(**call: Any) -> Any:
        return once(call=call)

    return run


class _Lazy:
    """Wraps a body in the process that runs it, because boto3 clients do not survive a fork."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self.made: Any = None

    def __call__(self, **call: Any) -> Any:
        self.made = self.made or _once(self.body)
        return self.made(**call)


_nothing, _work = _Lazy(bodies.nothing), _Lazy(bodies.work)


@app.task(base=BASE, name="bench.nothing")
def nothing(number: int) -> None:
    """Do nothing."""
    _nothing(number=number)


@app.task(base=BASE, name="bench.work")
def work(name: str, seconds: float) -> str:
    """Leave evidence."""
    return _work(name=name, seconds=seconds)  # type: ignore[no-any-return]


def fill(numbers: range) -> None:
    """Submit a call that does nothing for each number, one after another."""
    for number in numbers:
        nothing.delay(number)


def call(name: str, seconds: float) -> str:
    """Submit one call that leaves evidence; tell what the caller got."""
    try:
        result = work.delay(name, seconds)
    except Exception as error:  # noqa: BLE001 - a refusal such as AlreadyQueued is part of the finding
        return f"refused: {type(error).__name__}"
    if PEER == "celery-results":
        return f"handle, {result.state}"
    return "handle"
