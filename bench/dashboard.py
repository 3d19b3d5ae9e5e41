"""The dashboard on a million jobs: cost and duration of each page, with 8 viewers while a worker drains jobs.

``python -m bench.dashboard`` loads DynamoDB Local, starts `jobclaim dashboard` and a worker that drains jobs, and lets
eight viewers open a page every two seconds each, as an open page refreshes itself. The time of a view is what its
viewer waits, with everything on one machine. ``--jobs 20000 --seconds 10`` is a quick trial.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import many_jobs
from bench.stub import ROOT
from jobclaim.fleet.workers import FleetRecords
from jobclaim.infra import provision
from jobclaim.jobs import JobRepo, JobStatus
from jobclaim.settings import Settings
from tests.support.dashboard_data import Shop
from tests.support.endpoints import dynamodb_local, elasticmq
from tests.support.processes import ManagedProcess

RESULTS: Final = ROOT / "bench" / "results" / "dashboard.md"
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "jobclaimtest",
    "AWS_SECRET_ACCESS_KEY": "jobclaimtest",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BIG: Final = ("-Xmx6g", "-XX:+UseParallelGC")
PAGES: Final = {
    "overview": "/",
    "jobs": "/jobs",
    "failed jobs": "/jobs?status=FAILED",
    "jobs, a filter that nothing fits": "/jobs?status=FAILED&task=none",
    "jobs, a search in errors": "/jobs?status=FAILED&error=none",
    "completed jobs": "/jobs?status=COMPLETED",
    "job": f"/job?id={many_jobs.job_id(42)}",
    "dead letters": "/dead",
    "tasks": "/tasks",
    "one task": "/task?name=payments.capture",
    "queues": "/queues",
    "workers": "/workers",
    "schedules": "/schedules",
    "reconcile": "/reconcile",
    "audit trail": "/audit",
    "JSON API, jobs": "/api/v1/jobs",
    "metrics": "/metrics",
}
EVERY_SECONDS: Final = 2.0
TARGET_MS: Final = 150.0
SAID: Final = re.compile(r"([\d.]+) of (\d+) requests, ([\d.]+) of ([\d.]+) read units")
DRAINED_PER_SECOND: Final = 150
"""Jobs submitted for each second of the measurement: more than the worker can run."""


@dataclass
class Seen:
    """Measurements of the viewers."""

    milliseconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    costs: dict[str, tuple[float, ...]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, name: str, seconds: float, status: int, said: str) -> None:
        """Record one view."""
        found = SAID.search(said)
        with self.lock:
            self.milliseconds[name].append(seconds * 1000)
            if status != 200:
                self.failures.append(f"{name}: {status}")
            if found:
                cost = tuple(map(float, found.groups()))
                self.costs[name] = max(self.costs.get(name, cost), cost)  # a shared view costs less


def main() -> int:
    """Run, print and write the table; return 1 if a target is missed."""
    asked = _arguments()
    os.environ.update(CREDENTIALS)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as exits:
        logs = Path(folder)
        dynamodb = exits.enter_context(dynamodb_local(logs, BIG))
        sqs = exits.enter_context(elasticmq(logs))
        known = many_jobs.settings(
            dynamodb_endpoint_url=dynamodb.endpoint_url,
            sqs_endpoint_url=sqs.endpoint_url,
            task_modules=("bench.claim_tasks",),
            log_level="WARNING",
        )
        provision(known)
        now = int(time.time() * 1000)
        _say(f"Loading {asked.jobs:,} jobs ...")
        loading = many_jobs.load(known, asked.jobs, now)
        _say(f"{loading:.0f} s, {asked.jobs / loading:,.0f} a second.")
        repo = JobRepo.from_settings(known)
        Shop(known, repo.table.client(), now).statistics(30)
        for record in many_jobs.workers(now):
            FleetRecords.of(repo).beat(record)
        seen, drained = _measure(known, logs, asked)
    table = report(asked, loading, seen, drained)
    _say(table)
    if asked.jobs >= 1_000_000:
        RESULTS.write_text(table)
    return 0 if not seen.failures and _p95(_all(seen)) < TARGET_MS else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Pages of the dashboard on a large table.")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--viewers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120.0)
    return parser.parse_args()


def _measure(known: Settings, logs: Path, asked: argparse.Namespace) -> tuple[Seen, float]:
    """Run the viewers while a worker drains jobs; return their measurements, and the jobs that ended per second."""
    wanted = int(asked.seconds * DRAINED_PER_SECOND)
    with _processes(known, logs, wanted) as url:
        seen = Seen()
        for name, path in PAGES.items():  # each page once, sequentially: loads code and opens connections
            _view(Seen(), url, name, path)
        begin, ended_before = time.monotonic(), _drained(known, wanted)
        until = begin + asked.seconds
        with ThreadPoolExecutor(asked.viewers) as pool:
            for number in range(asked.viewers):
                pool.submit(_look, seen, url, number, asked.viewers, until)
        drained = (_drained(known, wanted) - ended_before) / (time.monotonic() - begin)
    return seen, drained


@contextmanager
def _processes(known: Settings, logs: Path, wanted: int) -> Iterator[str]:
    fields = known.model_dump(mode="json", exclude_unset=True)
    told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    env = os.environ | {f"JOBCLAIM_{name.upper()}": value for name, value in told.items()} | {"PYTHONPATH": str(ROOT)}
    _say(f"Submitting {wanted:,} jobs for the worker ...")
    submit = [sys.executable, "-c", SUBMIT, str(wanted)]
    subprocess.run(submit, env=env, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    argv = [sys.executable, "-m", "jobclaim", "dashboard", "--port", "0"]
    worker = [sys.executable, "-m", "celery", "-A", "jobclaim", "worker", "-Q", "default", "-c", "1"]
    with ManagedProcess("dashboard", argv, log_dir=logs, env=env, cwd=ROOT) as dashboard:
        line = dashboard.wait_for_line("The dashboard is at", 60)
        with ManagedProcess("worker", worker, log_dir=logs, env=env, cwd=ROOT):
            yield re.findall(r"http://(\S+)/", line)[0]


SUBMIT: Final = """
import sys
import jobclaim.workers
from bench.claim_tasks import nothing
report = nothing.submit_many(range(int(sys.argv[1])), batch="drain")
assert report.ok and not report.unsent, report
"""


def _look(seen: Seen, url: str, number: int, viewers: int, until: float) -> None:
    """Run one viewer: start at one of the pages and open them in turn."""
    pages = list(PAGES.items())
    at = number * len(pages) // viewers
    time.sleep(EVERY_SECONDS * number / viewers)
    while (begin := time.monotonic()) < until:
        name, path = pages[at % len(pages)]
        _view(seen, url, name, path)
        at += 1
        time.sleep(max(0.0, begin + EVERY_SECONDS - time.monotonic()))


def _view(seen: Seen, url: str, name: str, path: str) -> None:
    line = http.client.HTTPConnection(url, timeout=30)
    begin = time.perf_counter()
    try:
        line.request("GET", path)
        answer = line.getresponse()
        body = answer.read().decode()
    finally:
        line.close()
    seen.note(name, time.perf_counter() - begin, answer.status, answer.getheader("X-Jobclaim-Cost") or body)


def _drained(known: Settings, wanted: int) -> int:
    """Count the jobs that the worker has ended."""
    table = JobRepo.from_settings(known).table
    ids = [f"drain.{number}" for number in range(wanted)]
    return sum(job.status is JobStatus.COMPLETED for job in table.get_many(ids).values())


def report(asked: argparse.Namespace, loading: float, seen: Seen, drained: float) -> str:
    """Write the table."""
    everything = _all(seen)
    how = (
        f"{asked.jobs:,} jobs in DynamoDB Local, loaded in {loading:.0f} s; {asked.viewers} viewers, each a page every "
        f"{EVERY_SECONDS:g} s for {asked.seconds:g} s, while one worker process ends {drained:.0f} jobs a second; "
        f"Python {platform.python_version()}, {os.cpu_count()} cores for all of it. `python -m bench.dashboard`."
    )
    verdict = (
        f"**All {len(everything):,} views: median {statistics.median(everything):.0f} ms, p95 {_p95(everything):.0f} "
        f"ms** (target {TARGET_MS:g} ms), {len(seen.failures)} failed."
    )
    lines = [
        "# The dashboard on a large table",
        "",
        how,
        "",
        verdict,
        "",
        "| page | requests, of its budget | read units, of its budget | median ms | p95 ms | views |",
        "|---|---|---|---|---|---|",
    ]
    for name in PAGES:
        times = seen.milliseconds[name]
        cost = seen.costs.get(name)
        said = f"{cost[0]:g} of {cost[1]:g} | {cost[2]:g} of {cost[3]:g}" if cost else "not said | not said"
        lines.append(f"| {name} | {said} | {statistics.median(times):.0f} | {_p95(times):.0f} | {len(times)} |")
    return "\n".join([*lines, ""])


def _all(seen: Seen) -> list[float]:
    return [one for times in seen.milliseconds.values() for one in times]


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


def _say(text: Any) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
