"""``python submit.py MODULE fill COUNT [PAUSE]`` or ``call NAME SECONDS COPIES``: JSON as the last line of output."""

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
    await _done(getattr(app, "startup", _nothing)())
    try:
        if command == "call":
            return await _call(app, rest)
        return await (_trickle(app, int(rest[0]), float(rest[1])) if rest[1:] else _fill(app, int(rest[0])))
    finally:
        await _done(getattr(app, "shutdown", _nothing)())


def _nothing() -> None:
    """Do nothing, in place of a step that a peer does not need."""


async def _trickle(app: Any, count: int, pause: float) -> None:
    """Submit different calls, one at a time with a pause after each."""
    first = time.time_ns() // 10_000
    for number in range(first, first + count):
        await _done(app.fill(range(number, number + 1)))
        await asyncio.sleep(pause)


async def _fill(app: Any, count: int) -> dict[str, float]:
    """Submit different calls that do nothing; the first ones warm up and are not measured."""
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
