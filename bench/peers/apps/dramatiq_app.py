"""dramatiq on SQS by dramatiq-sqs, as its README sets it up."""

from __future__ import annotations

import os

import bodies
import dramatiq
from dramatiq.middleware import AgeLimit, Callbacks, Pipelines, Retries, TimeLimit
from dramatiq_sqs import SQSBroker

VISIBILITY = os.environ.get("BENCH_VISIBILITY")
broker = SQSBroker(
    endpoint_url=os.environ["BENCH_BROKER"],
    middleware=[AgeLimit(), TimeLimit(), Callbacks(), Pipelines(), Retries(min_backoff=1000, max_backoff=900_000)],
    **({"visibility_timeout": int(VISIBILITY)} if VISIBILITY else {}),
)
dramatiq.set_broker(broker)
QUEUE = os.environ["BENCH_QUEUE"]


@dramatiq.actor(queue_name=QUEUE, actor_name="bench.nothing")
def nothing(number: int) -> None:
    """Do nothing."""


@dramatiq.actor(queue_name=QUEUE, actor_name="bench.work")
def work(name: str, seconds: float) -> None:
    """Leave evidence."""
    bodies.work(name, seconds)


def fill(numbers: range) -> None:
    """Submit a call that does nothing for each number, one after another."""
    for number in numbers:
        nothing.send(number)


def call(name: str, seconds: float) -> str:
    """Submit one call that leaves evidence; tell what the caller got."""
    work.send(name, seconds)
    return "handle"
