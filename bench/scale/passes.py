"""The real recovery on a table of many jobs: requests, duration and progress of a recovery pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from bench.scale.crowd import Asked, Clock, Crowd, CrowdedTable
from jobclaim.fleet.workers import WorkerRecord
from jobclaim.jobs import Failure, FailureKind, Job, JobRepo, JobStatus
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.model import DeadState
from jobclaim.recovery import sweep
from jobclaim.recovery.decide import LOOK_AHEAD_MS
from jobclaim.recovery.report import SweepReport
from jobclaim.settings import QueueSpec, Settings

SECOND: Final = 1_000
HOUR: Final = 3_600_000
WORKERS: Final = 2_000
CONCURRENCY: Final = 8
QUEUE: Final = "default"
UNIT_BYTES: Final = 300
"""Bytes of the payload: with all that a job holds besides, its item is below 1 KB."""

JOB: Final = Job(
    job_id="",
    task="shop.charge",
    queue=QUEUE,
    status=JobStatus.PENDING,
    max_attempts=3,
    payload="x" * UNIT_BYTES,
    submission="0" * 12,
    dispatches=1,
    on_orphan="retry",
    lease_ms=1_860_000,
)
RUNNING: Final = replace(JOB, status=JobStatus.PROCESSING, attempt=1, charged=1, claim_token="0" * 32)
DEAD: Final = replace(
    JOB,
    status=JobStatus.FAILED,
    attempt=3,
    charged=3,
    failure=Failure(kind=FailureKind.TRANSIENT, message="the bank does not answer"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """Contents of the table and of the queue.

    Attributes
    ----------
    crowds : callable
        Builds the crowds from the number of jobs and the current time, epoch milliseconds.
    backlog : int
        Messages that wait.
    dead_workers : int
        Lost workers of the fleet.
    passes : int
        Which pass is shown: the first, unless a later one is more informative.
    goes_on : bool
        Whether the following passes find as much to do.
    """

    name: str
    crowds: Callable[[int, int], list[Crowd]]
    backlog: int = 0
    dead_workers: int = 0
    passes: int = 1
    goes_on: bool = True


@dataclass(frozen=True, slots=True)
class Passed:
    """One recovery pass: its report, its requests to AWS, and its duration in seconds."""

    report: SweepReport
    asked: Asked
    seconds: float

    @property
    def acted(self) -> int:
        """Return the number of jobs that it changed."""
        counts = self.report.counts()
        return sum(counts[name] for name in ("orphaned", "redispatched", "scheduled", "given_up", "expired", "revived"))


def scaled_settings(shards: int, **changes: Any) -> Settings:
    """Return settings with one queue besides recovery's, whatever the environment says."""
    return Settings(_env_file=None, queues=(QueueSpec(name=QUEUE),), index_shards=shards, **changes)


def passed(case: Case, jobs: int, settings: Settings) -> Passed:
    """Run passes of the real sweep, one after the other at its interval; return the one that the case is about."""
    clock = Clock()
    table = CrowdedTable(
        settings, clock, case.crowds(jobs, clock.now), list(_workers(clock.now, case.dead_workers, settings))
    )
    repo = JobRepo(table, settings=settings, clock=clock, sleep=lambda _: None)
    with _silence():
        for _ in range(case.passes):
            table.asked, began = Asked(), clock.now
            report = sweep(repo, send=lambda *_: table.count("send"), backlog=lambda _: case.backlog)
            seconds = (clock.now - began) / SECOND
            clock.now = max(clock.now, began + settings.recovery_interval_seconds * SECOND)
    return Passed(report, table.asked, seconds)


# --- cases
def finished(jobs: int, now: int) -> list[Crowd]:
    """Build a table where all jobs have ended, one in a hundred FAILED, and a few jobs of the last hour are orphans."""
    busy = WORKERS * CONCURRENCY
    week = 168 * HOUR
    return [
        Crowd("failed", _failed_key, jobs // 100, now - week, week / (jobs // 100), _failed),
        Crowd("running", _open_key, busy, now - 30 * SECOND, 30 * SECOND / busy, _running),
        Crowd("orphan", _open_key, 10, now - HOUR, 1.0, _running),
    ]


def ahead(jobs: int, now: int) -> list[Crowd]:
    """Build a table where all jobs are due within the next thirty days; those of the next ten minutes have messages."""
    return [Crowd("ahead", _open_key, jobs, now + LOOK_AHEAD_MS, 720 * HOUR / jobs, _waiting(dispatches=0))]


def behind(jobs: int, now: int) -> list[Crowd]:
    """Build a table where all jobs have waited in a queue for up to an hour, because the workers do not keep up."""
    return [Crowd("behind", _open_key, jobs, now - HOUR, HOUR / 2 / jobs, _waiting(dispatches=1))]


def dead(jobs: int, now: int) -> list[Crowd]:
    """Build a table where all jobs have failed and are scheduled for retry within a day, the first one an hour ago."""
    return [Crowd("retry", schema.retry_key, jobs, now - HOUR, 24 * HOUR / jobs, _scheduled)]


CASES: Final = (
    Case("ended; the fleet is busy", finished, passes=2),
    Case("as above, with 10 orphans and a lost worker of 8 jobs", finished, dead_workers=1, goes_on=False),
    Case("due within 30 days", ahead, passes=2),
    Case("waiting, the queue has a backlog", behind, backlog=1_000_000),
    Case("waiting, all messages are lost", behind),
    Case("failed, to be retried within a day", dead),
)


def _failed(job_id: str, _: int, at: int) -> Job:
    return replace(DEAD, job_id=job_id, finished_at=at, dead_state=DeadState.WAITING)


def _scheduled(job_id: str, _: int, at: int) -> Job:
    state = DeadState.SCHEDULED
    return replace(DEAD, job_id=job_id, finished_at=at - 300 * SECOND, retry_at=at, dead_state=state)


def _running(job_id: str, number: int, at: int) -> Job:
    return replace(
        RUNNING,
        job_id=job_id,
        worker_id=_worker_id(number // CONCURRENCY),
        available_at=at,
        dispatched_at=at,
        claimed_at=at,
        lease_expires_at=at + RUNNING.lease_ms,
    )


def _waiting(dispatches: int) -> Callable[[str, int, int], Job]:
    def make(job_id: str, _: int, at: int) -> Job:
        return replace(
            JOB, job_id=job_id, available_at=at, dispatches=dispatches, dispatched_at=at if dispatches else 0
        )

    return make


def _open_key(shard: int) -> str:
    return schema.open_key(QUEUE, shard)


def _failed_key(shard: int) -> str:
    return schema.closed_key(JobStatus.FAILED, shard)


def _worker_id(number: int) -> str:
    return f"ip-10-0-{number // 256}-{number % 256}:7:{number:08x}"


def _workers(now: int, dead_ones: int, settings: Settings) -> Iterator[WorkerRecord]:
    silence = settings.worker_dead_after_seconds * SECOND
    for number in range(WORKERS):
        jobs = tuple(f"running-{number * CONCURRENCY + n:012d}" for n in range(CONCURRENCY))
        seen_at = now - silence if number < dead_ones else now + HOUR  # live workers continue to send heartbeats
        yield WorkerRecord(
            worker_id=_worker_id(number),
            seen_at=seen_at,
            started_at=now - HOUR,
            queues=(QUEUE,),
            jobs=jobs,
            version="1.0.0",
            host=f"ip-10-0-{number // 256}-{number % 256}",
            pid=7,
            concurrency=CONCURRENCY,
        )


@contextmanager
def _silence() -> Iterator[None]:
    before = structlog.get_config()
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet, processors=[], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
