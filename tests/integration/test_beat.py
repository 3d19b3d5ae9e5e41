"""Two beats on one schedule, real processes: each tick runs once, and none is left out."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jobclaim.jobs import JobStatus
from tests.support.endpoints import Endpoint
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
EVERY = 4
"""Seconds: of ticks that pass while a beat stands still it submits the latest only, and machines stall."""
TICKS = 3


def ticks(stack: Stack) -> list[datetime]:
    """When the ticks whose bodies ran were due."""
    return sorted(datetime.fromisoformat(job_id.partition("@")[2]) for job_id, _ in stack.bodies())


def test_two_beats_run_each_tick_once(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> None:
    """Takes 15 s: some ticks have to come, and none of them while a slow machine stalls."""
    schedules = {"note": {"task": "tests.note", "every": EVERY, "args": [21], "expires": 60}}
    with deployed(dynamodb_local, elasticmq, tmp_path, schedules=schedules, recovery_by_beat=False) as stack:
        worker = stack.worker("worker", "-Q", "default", "-c", "2")
        beats = [stack.celery(name, "beat", "--pidfile", "") for name in ("one", "two")]
        for beat in beats:
            beat.wait_for_line('"job.(submitted|duplicate)"', 60)
        first = len(stack.bodies())
        wait_until(lambda: len(stack.bodies()) >= first + TICKS, 60, lambda: f"{TICKS} more ticks: {ticks(stack)}")

        def duplicates() -> int:
            return sum(beat.log().count('"job.duplicate"') for beat in beats)

        wait_until(lambda: duplicates() >= TICKS - 1, 30, lambda: f"both submit each tick: {duplicates()}")
        for beat in beats:
            assert beat.stop(30) == 0
        wait_until(lambda: not stack.repo.list_jobs("PENDING").jobs, 30, "the last ticks have begun")
        assert worker.stop(40) == 0
        assert set(stack.bodies().values()) == {1}
        times = ticks(stack)
        assert {later - earlier for earlier, later in itertools.pairwise(times)} == {timedelta(seconds=EVERY)}
        job_ids = [job_id for job_id, _ in stack.bodies()]
        assert {job.result for job in stack.wait_for(job_ids, JobStatus.COMPLETED, 30).values()} == {42}
