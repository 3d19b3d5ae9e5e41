"""taskiq on SQS by taskiq-aio-sqs, as its README sets it up; ten messages a poll instead of its default of one."""

from __future__ import annotations

import asyncio
import os

import bodies
from taskiq_aio_sqs import SQSBroker

broker = SQSBroker(
    os.environ["BENCH_QUEUE"],
    endpoint_url=os.environ["BENCH_BROKER"],
    region_name="us-east-1",
    aws_access_key_id="stub",
    aws_secret_access_key="stub",  # noqa: S106 - for the stub
    max_number_of_messages=10,
)


@broker.task(task_name="bench.nothing")
async def nothing(number: int) -> None:
    """Do nothing."""


@broker.task(task_name="bench.work")
async def work(name: str, seconds: float) -> str:
    """Leave evidence."""
    return await asyncio.to_thread(bodies.work, name, seconds)


startup, shutdown = broker.startup, broker.shutdown


async def fill(numbers: range) -> None:
    """Submit a call that does nothing for each number, one after another."""
    for number in numbers:
        await nothing.kiq(number)


async def call(name: str, seconds: float) -> str:
    """Submit one call that leaves evidence; tell what the caller got."""
    await work.kiq(name, seconds)
    return "handle"
