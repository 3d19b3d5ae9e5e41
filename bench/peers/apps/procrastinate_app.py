"""procrastinate on PostgreSQL, as its documentation sets it up."""

from __future__ import annotations

import asyncio
import os

import bodies
import procrastinate

QUEUE = os.environ["BENCH_QUEUE"]
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_BROKER"]))


@app.task(name="bench.nothing", queue=QUEUE)
async def nothing(number: int) -> None:
    """Do nothing."""


@app.task(name="bench.work", queue=QUEUE)
async def work(name: str, seconds: float) -> None:
    """Leave evidence."""
    await asyncio.to_thread(bodies.work, name, seconds)


async def fill(numbers: range) -> None:
    """Submit a call that does nothing for each number, one after another."""
    for number in numbers:
        await nothing.defer_async(number=number)


async def call(name: str, seconds: float) -> str:
    """Submit one call that leaves evidence; tell what the caller got."""
    await work.defer_async(name=name, seconds=seconds)
    return "handle"


startup, shutdown = app.open_async, app.close_async
