"""One worker: its speed by its number of processes, and its memory by the jobs it has done. On the metering stub."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import cpu
from bench.peers import speed
from bench.peers.brokers import Broker, running_broker
from bench.peers.catalog import BY_KEY
from bench.peers.endpoints import Endpoints
from tests.support.processes import ManagedProcess

PEER: Final = BY_KEY["jobclaim-bulk"]
PROCESSES: Final = (1, 2, 4, 8, 16, 32)
JOBS_PER_PROCESS, MOST_JOBS = 200, 1_600
STEP: Final = 10_000
"""Jobs between two samples of memory."""
STEP_SECONDS: Final = 600


def scaling(rounds: int) -> dict[str, Any]:
    """Measure speed with latency, and the main process's CPU, of workers with more and more processes, by turns."""
    done: dict[int, list[speed.Drained]] = {processes: [] for processes in PROCESSES}
    for _ in range(rounds):
        for processes in PROCESSES:
            done[processes].append(_drained(processes))
    return {
        "rounds": rounds,
        "points": [
            {
                "processes": processes,
                "per_second": [one.per_second for one in seen],
                "cpu_ms": median(one.cpu_ms for one in seen),
                "parent_cpu_ms": median(one.parent_cpu_ms for one in seen),
            }
            for processes, seen in done.items()
        ],
    }


def _drained(processes: int) -> speed.Drained:
    with _working(processes) as (broker, endpoints, worker):
        endpoints.submit(PEER, "fill", str(10 * processes))
        speed.wait(broker, PEER, 10 * processes)
        jobs = min(MOST_JOBS, JOBS_PER_PROCESS * processes)
        return speed.drained(broker, endpoints, PEER, worker, jobs, speed.LATENCY_MS)


def memory(jobs: int, processes: int, minutes: float) -> dict[str, Any]:
    """Sample the resident memory, MB, of the main process and of the largest child while a worker does many jobs.

    It begins with no further jobs after the given minutes.
    """
    samples: list[list[float]] = []
    deadline = time.monotonic() + 60 * minutes
    with _working(processes) as (broker, endpoints, worker):
        for count in range(STEP, jobs + 1, STEP):
            if time.monotonic() > deadline:
                break
            broker.reset()
            endpoints.submit(PEER, "fill", str(STEP))
            speed.wait(broker, PEER, STEP, STEP_SECONDS)
            children = [cpu.megabytes(child)[0] for child in cpu.children(worker.pid)]
            samples.append([count, cpu.megabytes(worker.pid)[0], max(children)])
            sys.stderr.write(f"{samples[-1]}\n")
    return {"processes": processes, "samples": samples}


@contextmanager
def _working(processes: int) -> Iterator[tuple[Broker, Endpoints, ManagedProcess]]:
    """Run a worker on its own stub until the block ends."""
    with tempfile.TemporaryDirectory() as name, running_broker(PEER, Path()) as broker:
        endpoints = Endpoints(broker.url, broker.url, "", Path(name))
        endpoints.prepare(PEER)
        worker = endpoints.worker(PEER, processes)
        try:
            yield broker, endpoints, worker
        finally:
            worker.stop(60)
