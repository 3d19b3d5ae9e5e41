"""Cost and speed of no-op jobs on the metering stub: one round of one peer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from bench import cpu
from bench.peers.catalog import Peer, queue_of
from bench.peers.endpoints import Endpoints
from bench.stub import RunningStub

LATENCY_MS: Final = {"sqs": 10.0, "dynamodb": 5.0}
SLOW_LINE_MS: Final = {"sqs": 200.0, "dynamodb": 100.0}
NO_LATENCY_MS: Final = {"sqs": 0.0, "dynamodb": 0.0}
MESSAGE_ENDS: Final = ("DeleteMessage", "DeleteMessageBatch")
DONE_SECONDS: Final = 60
STEP_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Round:
    """Results of one peer in one round; all figures are per job unless another unit is given.

    Attributes
    ----------
    per_second, per_second_with_latency : float
        Jobs per second from the release of their messages to the last one's end.
    requests : dict
        By operation (and table), worker's polls and heartbeats and submission among them; with latency.
    units : dict
        By table, kind and part (``write index``), read and write units as DynamoDB bills them.
    write_units, read_units : float
    submit_ms, submit_cpu_ms : float
        Milliseconds of the submitter's wall clock and CPU, no latency.
    worker_cpu_ms, worker_cpu_ms_with_latency : float
        Milliseconds of CPU of the worker and its children.
    per_second_slow_line : float
        As ``per_second``, over the slow line; 0 where it was not measured.
    first_job_seconds : float
        From the start of the worker's process to the end of a job that was waiting for it.
    start_cpu_seconds : float
        CPU of the worker and its children up to then.
    child_mb, all_mb : float
        Resident memory of its largest process but the first, and the proportional memory of all, after the jobs.
    """

    per_second: float
    per_second_with_latency: float
    requests: dict[str, float]
    units: dict[str, float]
    write_units: float
    read_units: float
    submit_ms: float
    submit_cpu_ms: float
    worker_cpu_ms: float
    worker_cpu_ms_with_latency: float
    per_second_slow_line: float = 0.0
    first_job_seconds: float = 0.0
    start_cpu_seconds: float = 0.0
    child_mb: float = 0.0
    all_mb: float = 0.0


def measure(stub: RunningStub, endpoints: Endpoints, peer: Peer, jobs: int, processes: int) -> Round:
    """Start a worker, warm it up, and have it drain held-back backlogs: without latency, with it, over a slow line."""
    stub.control(latency_ms=NO_LATENCY_MS, hold=False, reset=True)
    endpoints.submit(peer, "fill", "1")
    began = time.monotonic()
    worker = endpoints.worker(peer, processes)
    try:
        _wait(stub, peer, 1)
        first_job, start_cpu = time.monotonic() - began, _cpu(worker.pid)
        warm_up = 10 * processes
        stub.control(reset=True)
        endpoints.submit(peer, "fill", str(warm_up))
        _wait(stub, peer, warm_up)
        fast, submitted, worker_cpu = _backlog(stub, endpoints, peer, worker.pid, jobs, NO_LATENCY_MS)
        slow, _, slow_cpu = _backlog(stub, endpoints, peer, worker.pid, jobs, LATENCY_MS)
        memory = [cpu.megabytes(pid) for pid in (worker.pid, *cpu.children(worker.pid))]
        slowest = 0.0
        if peer.slow_jobs:
            far, _, _ = _backlog(stub, endpoints, peer, worker.pid, peer.slow_jobs, SLOW_LINE_MS)
            slowest = peer.slow_jobs / _seconds(far, peer)
    except BaseException:
        print(worker.describe())  # noqa: T201 - reason why a long run ended
        raise
    finally:
        stub.control(latency_ms=NO_LATENCY_MS, hold=False)
        worker.stop(60)
    units = {
        f"{table} {part}": count / jobs
        for table, parts in slow["units"].items()
        for part, count in sorted(parts.items())
    }
    measured = max(1, submitted["measured"])
    return Round(
        per_second=jobs / _seconds(fast, peer),
        per_second_with_latency=jobs / _seconds(slow, peer),
        requests={name: count / jobs for name, count in sorted(slow["requests"].items())},
        units=units,
        write_units=sum(count for name, count in units.items() if " write " in name),
        read_units=sum(count for name, count in units.items() if " read " in name),
        submit_ms=1000 * submitted["seconds"] / measured,
        submit_cpu_ms=1000 * submitted["cpu_seconds"] / measured,
        worker_cpu_ms=1000 * worker_cpu / jobs,
        worker_cpu_ms_with_latency=1000 * slow_cpu / jobs,
        per_second_slow_line=slowest,
        first_job_seconds=first_job,
        start_cpu_seconds=start_cpu,
        child_mb=max(resident for resident, _ in memory[1:] or memory),
        all_mb=sum(proportional for _, proportional in memory),
    )


def _backlog(
    stub: RunningStub, endpoints: Endpoints, peer: Peer, worker: int, jobs: int, latency_ms: dict[str, float]
) -> tuple[dict[str, Any], dict[str, float], float]:
    """Submit while messages are held back, release them, wait; return meter, submitter's figures and worker's CPU."""
    stub.control(hold=True, reset=True)
    submitted = endpoints.submit(peer, "fill", str(jobs))
    before = _cpu(worker)
    released = stub.control(hold=False, latency_ms=latency_ms)["now"]
    meter = _wait(stub, peer, jobs)
    spent = _cpu(worker) - before
    stub.control(latency_ms=NO_LATENCY_MS)
    return {**meter, "released": released}, submitted, spent


def _cpu(worker: int) -> float:
    return cpu.seconds(worker) + cpu.seconds_of_children(worker)


def _seconds(meter: dict[str, Any], peer: Peer) -> float:
    last = max(at for name, at in meter["last_at"].items() if name in (*MESSAGE_ENDS, *peer.ends))
    return float(last - meter["released"])


def _wait(stub: RunningStub, peer: Peer, jobs: int) -> dict[str, Any]:
    deadline = time.monotonic() + DONE_SECONDS
    queue = queue_of(peer)[1]
    while time.monotonic() < deadline:
        meter = stub.control()
        empty = all(count == "0" for count in meter["depth"][queue].values())
        if empty and all(meter["requests"].get(name, 0) >= times * jobs for name, times in peer.ends.items()):
            return meter
        time.sleep(STEP_SECONDS)
    raise TimeoutError(f"{peer.key} did not finish {jobs} jobs in {DONE_SECONDS} s: {stub.control()}")
