"""``python submit.py MODULE fill COUNT`` or ``call NAME SECONDS COPIES``: JSON on the last line of standard output."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import time
from typing import Any

WARM_UP = 50
"""Warm-up submissions before the measured ones: connections, caches, imports."""


async def run(app: Any, command: str, rest: list[str]) -> Any:
    """Submit and return the figures; functions of a peer without coroutines are called directly."""
    if hasattr(app, "broker") and inspect.iscoroutinefunction(app.fill):
        await app.broker.startup()
        try:
            return await (_fill(app, int(rest[0])) if command == "fill" else _call(app, rest))
        finally:
            await app.broker.shutdown()
    return await (_fill(app, int(rest[0])) if command == "fill" else _call(app, rest))


async def _fill(app: Any, count: int) -> dict[str, float]:
    """Submit calls that do nothing, all of them different, including those of the warm-up."""
    first = time.time_ns() // 10_000
    warm = min(WARM_UP, count)
    await _done(app.fill(range(first, first + warm)))
    spent, began = time.process_time(), time.monotonic()
    await _done(app.fill(range(first + warm, first + count)))
    cpu, seconds = time.process_time() - spent, time.monotonic() - began
    return {"measured": count - warm, "cpu_seconds": cpu, "seconds": seconds}


async def _call(app: Any, rest: list[str]) -> list[str]:
    """Submit equal calls; return the result of each caller."""
    name, seconds, copies = rest
    return [await _done(app.call(name, float(seconds))) for _ in range(int(copies))]


async def _done(made: Any) -> Any:
    return await made if inspect.isawaitable(made) else made


if __name__ == "__main__":
    module, what, *more = sys.argv[1:]
    answer = asyncio.run(run(importlib.import_module(module), what, more))
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
