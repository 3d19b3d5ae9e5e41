"""Recovery passes over more and more open jobs on DynamoDB Local: the real sweep, its time and its requests."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import many_jobs
from jobclaim.infra.clients import dynamodb_client
from jobclaim.infra.tables import ensure_table, table_specs
from jobclaim.jobs import Job, JobRepo
from jobclaim.jobs.storage.lean import client_of
from jobclaim.recovery import sweep
from jobclaim.settings import QueueSpec, Settings
from tests.support.endpoints import dynamodb_local

SIZES: Final = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
QUEUE: Final = "default"
PASSES: Final = 3
BACKLOG: Final = 1_000_000
AGE_MS: Final = 3_600_000
"""Since when the youngest job waits, so that a pass looks at every one of them."""


def sweeps(most: int) -> list[dict[str, Any]]:
    """Measure passes at each size up to `most`; all jobs are due, and their queue has a backlog."""
    with tempfile.TemporaryDirectory() as folder, dynamodb_local(Path(folder)) as server:
        settings = Settings(_env_file=None, queues=(QueueSpec(name=QUEUE),), dynamodb_endpoint_url=server.endpoint_url)
        for spec in table_specs(settings):
            list(ensure_table(dynamodb_client(settings), spec, 60))
        loaded, points, now = 0, [], int(time.time() * 1000) - AGE_MS
        for size in (size for size in SIZES if size <= most):
            many_jobs.load(settings, size, now, start=loaded, make=waiting)
            loaded = size
            points.append({"jobs": size, **_passes(settings)})
    return points


def waiting(number: int, now: int) -> Job:
    """Return the ``n``-th job of those that wait, all on one queue."""
    return replace(many_jobs.job(number // 40 * 100 + number % 40, now), queue=QUEUE)


def _passes(settings: Settings) -> dict[str, Any]:
    """Make some passes; return the medians of their seconds, their requests and the jobs that they read."""
    dynamodb = client_of(settings, "dynamodb")
    requests: list[dict[str, Any]] = []
    dynamodb.access.hooks.register("before-send.*.*", lambda **asked: requests.append(asked))
    repo = JobRepo.from_settings(settings, client=dynamodb)
    passes = []
    for _ in range(PASSES):
        requests.clear()
        began = time.monotonic()
        report = sweep(repo, send=lambda *_: None, backlog=lambda _: BACKLOG)
        passes.append((time.monotonic() - began, len(requests), report.examined))
    return dict(zip(("seconds", "requests", "examined"), map(median, zip(*passes, strict=True)), strict=True))
