"""awa on PostgreSQL, as its README sets it up; ``python awa_app.py COUNT`` works on so many jobs at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass

import awa
import bodies

QUEUE = os.environ["BENCH_QUEUE"]
client = awa.AsyncClient(os.environ["BENCH_BROKER"])


@dataclass
class Nothing:
    """A call that does nothing."""

    number: int


@dataclass
class Work:
    """A call that leaves evidence."""

    name: str
    seconds: float


async def fill(numbers: range) -> None:
    """Submit a call that does nothing for each number, one after another."""
    for number in numbers:
        await client.insert(Nothing(number), queue=QUEUE)


async def call(name: str, seconds: float) -> str:
    """Submit one call that leaves evidence; tell what the caller got."""
    await client.insert(Work(name, seconds), queue=QUEUE)
    return "handle"


async def main(count: int) -> None:
    """Work until asked to end."""

    @client.task(Nothing, queue=QUEUE)
    async def nothing(job: awa.Job[Nothing]) -> None:
        """Do nothing."""

    @client.task(Work, queue=QUEUE)
    async def work(job: awa.Job[Work]) -> None:
        await asyncio.to_thread(bodies.work, job.args.name, job.args.seconds)

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await client.start([(QUEUE, count)])
    sys.stdout.write("awa is ready\n")
    sys.stdout.flush()
    await ended.wait()
    await client.shutdown()
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
