"""Draw cases until the time is up, the number is reached, or something breaks."""

from __future__ import annotations

import asyncio
import random
import resource
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from starlette.testclient import TestClient

from tests.fuzz import faces, messages, requests
from tests.fuzz.draw import Draw
from tests.fuzz.world import MONTH_MS, RAN, World, world

KINDS = ("message", "message", "message", "fields", "request", "request", "bytes")
CASES_PER_WORLD = 400
"""Then its tables start empty again, so that memory measured is not what the cases stored."""
SLOW_SECONDS = 5.0
"""CPU seconds of a case; none needs a hundredth of it."""
GROWTH_MB = 300


@dataclass
class Outcome:
    """What a run came to."""

    seed: int
    cases: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    grown_mb: float = 0.0


def run(seed: int, *, cases: int = 10**12, seconds: float = 10**9, most_broken: int = 20) -> Outcome:
    """Run; every case can be repeated from its own seed, ``seed:number``."""
    made, end, number, before = Outcome(seed), time.monotonic() + seconds, 0, 0.0
    while number < cases and time.monotonic() < end and len(made.broken) < most_broken:
        with world() as here:
            victims(here)
            browser = _browser(here)
            for _ in range(min(CASES_PER_WORLD, cases - number)):
                if time.monotonic() >= end or len(made.broken) >= most_broken:
                    break
                _one(made, here, browser, number)
                number += 1
        before = before or _peak_mb()  # all is imported by now
    made.grown_mb = _peak_mb() - before
    if made.grown_mb > GROWTH_MB:
        made.broken.append(f"memory grew by {made.grown_mb:.0f} MB")
    return made


def victims(here: World) -> None:
    """Write jobs that no message of the cases may touch."""
    here.victim(available_at=here.harness.clock() + MONTH_MS)
    here.victim()
    done = here.victim()
    here.victims[-1] = here.repo.cancel_job(done.job_id, reason="over")


def _browser(here: World) -> TestClient:
    own_page = {"sec-fetch-site": "same-origin"}
    return TestClient(
        here.dashboard,
        base_url="http://127.0.0.1:8484",
        follow_redirects=False,
        headers=own_page,
        raise_server_exceptions=False,
    )


def _one(made: Outcome, here: World, browser: TestClient, number: int) -> None:
    case = f"{made.seed}:{number}"
    draw = Draw(random.Random(case))
    kind = draw.random.choice(KINDS)
    began, what = time.process_time(), ""
    try:
        what = _do(kind, here, browser, draw)
        if touched := here.touched():
            RAN.clear()
            here.victims.clear()
            victims(here)
            raise AssertionError(f"{touched} changed")
    except Exception as error:  # noqa: BLE001 - whatever is raised is a finding
        at = " < ".join(f"{row.name}:{row.lineno}" for row in traceback.extract_tb(error.__traceback__)[:-9:-1])
        made.broken.append(f"{case} {kind} {what}: {type(error).__name__}: {str(error)[:600]} at {at}")
    if (took := time.process_time() - began) > SLOW_SECONDS:
        made.broken.append(f"{case} {kind} {what}: took {took:.1f} s")
    made.cases[kind] += 1


def _do(kind: str, here: World, browser: TestClient, draw: Draw) -> str:
    if kind == "message":
        return messages.one(here, draw)
    if kind == "fields":
        return faces.one(here, draw, browser)
    return asyncio.run(requests.raw(here, draw)) if kind == "bytes" else requests.one(here, draw, browser)


def _peak_mb() -> float:
    used: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(used) / 1024
