"""A limited task in virtual time: jobs whose messages wait in their queue, before the real code of limits."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import cycle, product
from typing import Any

import pytest

from jobclaim.fleet.limits import FleetLimits
from jobclaim.fleet.rates import RateLimit
from jobclaim.jobs import Job, JobStatus
from jobclaim.workers.attempt.admission import ask
from tests.simulation.client import ModelClient
from tests.support.volume import THOROUGH

START = 4_000_000_000_000
WINDOW = 60_000
MOST_CLAIMS = 60
"""Claims after which a job's turns lead nowhere, so that the work would never end."""
Wait = Callable[[random.Random, int], float]
"""Gives the seconds that a message waits in its queue which is due at a time, milliseconds from the start."""


@dataclass
class Task:
    """What admission asks of a task."""

    rate_limit: str
    rate_burst: int = 1
    name: str = "limited"
    concurrency_key: None = None
    soft_time_limit: int = 1680
    time_limit: int = 1800


@dataclass
class Fleet:
    """Jobs, their messages, and workers that take each when it has waited.

    Attributes
    ----------
    starts : list of int
        When bodies started, milliseconds from the start of it all.
    claims : dict
        By job.
    """

    task: Task
    wait: Wait
    seed: int = 1
    processes: int = 8
    now: int = 0
    slept: float = 0.0
    starts: list[int] = field(default_factory=list)
    claims: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        client = ModelClient(lambda: START + self.now)
        client.make_tables("jobs", "fleet")
        self._limits = [
            FleetLimits(
                lambda: client,
                "fleet",
                read_tokens=lambda _: {},
                clock=lambda: START + self.now,
                sleep=self._sleep,
            )
            for _ in range(self.processes)
        ]
        self._random = random.Random(self.seed)
        self._due: list[tuple[int, str, Job]] = []

    def submit(self, count: int, every_ms: int = 0) -> None:
        """Submit jobs, all at once or one after another."""
        for number in range(count):
            at = START + number * every_ms
            self._send(_pending(f"j{number}", at), at)

    def run(self) -> None:
        """Let workers take messages until none is left."""
        while self._due:
            self.now, job_id, claimed = heapq.heappop(self._due)
            self.claims[job_id] = self.claims.get(job_id, 0) + 1
            assert self.claims[job_id] <= MOST_CLAIMS
            self.slept = 0.0
            limits = self._random.choice(self._limits)
            hold = ask(self.task, claimed, "", limits, START + self.now)
            if hold is None:
                self.starts.append(self.now + round(self.slept * 1000))
            else:
                self._send(claimed, max(START + self.now, hold.until), slot=hold.slot)
        self.starts.sort()

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds

    def _send(self, job: Job, available_at: int, **changes: Any) -> None:
        """Send a job's message, with the job as the worker claims it that takes the message."""
        due = available_at - START
        at = due + round(self.wait(self._random, due) * 1000)
        changes |= {"available_at": available_at, "attempt": job.attempt + 1, "charged": 1, "claimed_at": START + at}
        heapq.heappush(self._due, (at, job.job_id, replace(job, **changes)))

    # --- the judge
    def most_in_any_window(self, window: int) -> int:
        """Count the starts of the fullest window."""
        return max(bisect_left(self.starts, at + window) - number for number, at in enumerate(self.starts))

    def fewest_in_any_window(self, since: int, left: int) -> int:
        """Count the starts of the emptiest window in which work waits: after a time, and while so many are left."""
        end = self.starts[-left]
        fewest = WINDOW
        for at in range(max(since, self.starts[0]), end - WINDOW, 1_000):
            fewest = min(fewest, bisect_left(self.starts, at + WINDOW) - bisect_left(self.starts, at))
        return fewest


def _pending(job_id: str, at: int) -> Job:
    return Job(
        job_id=job_id,
        task="limited",
        queue="default",
        status=JobStatus.PROCESSING,
        available_at=at,
        created_at=at,
        lease_expires_at=2 * START,
    )


MINUTES, OF_SHORT_WAITS = 25, 12
"""Work of a task at its rate: more than twice the longest wait, with windows enough behind it."""
WAITS: dict[str, tuple[Wait, int, int]] = {
    # name: seconds of wait, the longest of them, seconds until the first that came and had to wait are back
    "none": (lambda _r, _at: 0.05, 0, 0),
    "up to a second": (lambda r, _at: r.random(), 1, 0),
    "always 6 s": (lambda _r, _at: 6, 6, 0),
    "always 1 min": (lambda _r, _at: 60, 60, 150),
    "always 10 min": (lambda _r, _at: 600, 600, 1230),
    "0 to 10 s": (lambda r, _at: 10 * r.random(), 10, 0),
    "0 to 1 min": (lambda r, _at: 60 * r.random(), 60, 0),
    "0 to 10 min": (lambda r, _at: 600 * r.random(), 600, 0),
    "exponential, 30 s": (lambda r, _at: min(600, r.expovariate(1 / 30)), 300, 0),
    "none or up to 10 min": (lambda r, _at: 0.1 if r.random() < 0.5 else 600 * r.random(), 600, 0),
    "delivered every 10 s": (lambda r, at: 10 - at / 1000 % 10 + r.random(), 11, 30),
}


RATES = [("10/m", 1), ("1/s", 1), ("2/s", 5)]
"""With their bursts."""
CASES = list(product(WAITS, RATES)) if THOROUGH else list(zip(WAITS, cycle(RATES), strict=False))
"""Each wait with each rate, or with one of them."""


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "limited"), CASES)
def test_a_limited_task_starts_at_its_rate_however_long_its_messages_wait(name: str, limited: tuple[str, int]) -> None:
    rate, burst = limited
    wait, longest, warm = WAITS[name]
    limit = RateLimit.parse(rate, burst)
    per_window = WINDOW * 1000 / limit.interval_us
    count = round(per_window * (MINUTES if longest > 60 else OF_SHORT_WAITS))
    fleet = Fleet(Task(rate, burst), wait)
    fleet.submit(count)
    fleet.run()
    assert len(fleet.starts) == count
    assert fleet.most_in_any_window(WINDOW) <= burst + per_window
    assert fleet.most_in_any_window(1_000) <= burst + 1_000_000 / limit.interval_us
    left = round(per_window * (1 + 1.2 * longest / 60)) + burst
    assert fleet.fewest_in_any_window(warm * 1000, left) >= 0.9 * per_window
    claims = sorted(fleet.claims.values())
    # where some dozen late jobs are more than a minute's starts, one of them may have to come again
    assert claims[-1 if limit.interval_us <= 1_000_000 else round(0.98 * count) - 1] <= 3


def test_twenty_jobs_behind_a_queue_of_six_seconds_start_in_half_a_minute() -> None:
    fleet = Fleet(Task("1/s"), lambda _r, _at: 6)
    fleet.submit(20)
    fleet.run()
    assert fleet.starts[-1] - fleet.starts[0] <= 30_000
    assert max(fleet.claims.values()) <= 3


def test_where_no_message_waits_each_job_is_claimed_twice_at_most_and_starts_at_its_turn() -> None:
    fleet = Fleet(Task("1/s"), lambda _r, _at: 0.0)
    fleet.submit(100)
    fleet.run()
    assert fleet.starts == [1000 * number for number in range(100)]
    assert max(fleet.claims.values()) == 2


def test_newcomers_do_not_overtake_those_that_have_a_turn() -> None:
    fleet = Fleet(Task("1/s"), lambda r, _at: 0.2 * r.random())
    fleet.submit(300, every_ms=100)
    fleet.run()
    assert max(fleet.claims.values()) == 2


def test_a_task_below_its_rate_waits_for_nothing() -> None:
    fleet = Fleet(Task("1/s"), lambda _r, _at: 0.0)
    fleet.submit(100, every_ms=1_000)
    fleet.run()
    assert fleet.starts == [1000 * number for number in range(100)]
    assert set(fleet.claims.values()) == {1}


def test_slow_processes_share_what_they_know_through_the_record_alone() -> None:
    alone, many = (Fleet(Task("4/s", 2), WAITS["0 to 10 s"][0], processes=number) for number in (1, 64))
    for fleet in (alone, many):
        fleet.submit(400)
        fleet.run()
    assert abs(alone.starts[-1] - many.starts[-1]) <= 15_000


def test_the_patience_of_a_job_is_a_small_share_of_its_time_limit() -> None:
    fleet = Fleet(Task("1/s", soft_time_limit=2, time_limit=3), WAITS["0 to 10 s"][0])
    waits: list[float] = []
    fleet._sleep = waits.append  # type: ignore[method-assign,assignment]
    fleet.__post_init__()
    fleet.submit(100)
    fleet.run()
    assert max(waits) <= 0.2


def test_a_job_whose_lease_went_by_while_it_waited_for_its_start_does_not_start() -> None:
    client = ModelClient(lambda: START)
    client.make_tables("jobs", "fleet")
    now = [START]

    def sleep(seconds: float) -> None:
        now[0] += round(seconds * 1000) + 1_000

    limits = FleetLimits(lambda: client, "fleet", read_tokens=lambda _: {}, clock=lambda: now[0], sleep=sleep)
    job = replace(_pending("late", START), lease_expires_at=START + 500, slot=START)

    hold = ask(Task("1/s"), job, "", limits, START)

    assert hold is not None
    assert "lease" in hold.reason
