"""Cost and speed of no-op jobs: one round of one peer on its broker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench import cpu
from bench.peers.brokers import NO_LATENCY_MS, Broker, Meter
from bench.peers.catalog import Peer
from bench.peers.endpoints import Endpoints
from bench.peers.figures import SINGLE_SECONDS
from tests.support.processes import ManagedProcess

LATENCY_MS: Final = {"sqs": 10.0, "dynamodb": 5.0, "server": 1.0}
"""Added to each answer; ``server`` is Redis or PostgreSQL."""
SLOW_LINE_MS: Final = {"sqs": 200.0, "dynamodb": 100.0}
SINGLE_JOBS: Final = 40
DONE_SECONDS: Final = 60


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
    singly : dict, optional
        Requests and units, as above, of jobs that come one at a time; counted in one round.
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
    singly: dict[str, Any] | None = None


def measure(broker: Broker, endpoints: Endpoints, peer: Peer, jobs: int, processes: int, *, singly: bool) -> Round:
    """Start a worker, warm it up, and have it drain held-back backlogs: without latency, with it, over a slow line.

    With `singly` it then works on jobs that come one at a time.
    """
    broker.reset()
    endpoints.submit(peer, "fill", "1")
    began = time.monotonic()
    worker = endpoints.worker(peer, processes)
    try:
        first_job, start_cpu = wait(broker, peer, 1)["last"] - began, _cpu(worker.pid)
        warm_up = 10 * processes
        broker.reset()
        endpoints.submit(peer, "fill", str(warm_up))
        wait(broker, peer, warm_up)
        backlog = partial(drained, broker, endpoints, peer, worker)
        fast, slow = backlog(jobs, NO_LATENCY_MS), backlog(jobs, LATENCY_MS)
        memory = [cpu.megabytes(pid) for pid in (worker.pid, *cpu.children(worker.pid))]
        slowest = backlog(peer.slow_jobs, SLOW_LINE_MS).per_second if peer.slow_jobs else 0.0
        alone = _singly(broker, endpoints, peer) if singly and peer.broker == "sqs" else None
    except BaseException:
        print(worker.describe())  # noqa: T201 - shows why a long run ended
        raise
    finally:
        broker.reset()
        worker.resume()
        worker.stop(20)
    measured = max(1, fast.submitted["measured"])
    return Round(
        per_second=fast.per_second,
        per_second_with_latency=slow.per_second,
        **_per_job(slow.meter, jobs),
        submit_ms=1000 * fast.submitted["seconds"] / measured,
        submit_cpu_ms=1000 * fast.submitted["cpu_seconds"] / measured,
        worker_cpu_ms=fast.cpu_ms,
        worker_cpu_ms_with_latency=slow.cpu_ms,
        per_second_slow_line=slowest,
        first_job_seconds=first_job,
        start_cpu_seconds=start_cpu,
        child_mb=max(resident for resident, _ in memory[1:] or memory),
        all_mb=sum(proportional for _, proportional in memory),
        singly=alone,
    )


@dataclass(frozen=True, slots=True)
class Drained:
    """What draining a backlog came to.

    Attributes
    ----------
    meter : dict
    submitted : dict
        The submitter's figures.
    per_second : float
    cpu_ms, parent_cpu_ms : float
        CPU per job of the worker with its children, and of its main process alone.
    """

    meter: Meter
    submitted: dict[str, float]
    per_second: float
    cpu_ms: float
    parent_cpu_ms: float


def drained(
    broker: Broker,
    endpoints: Endpoints,
    peer: Peer,
    worker: ManagedProcess,
    jobs: int,
    latency_ms: Mapping[str, float],
) -> Drained:
    """Submit while messages are held back, release them, and wait."""
    broker.reset(hold=True, worker=worker)
    submitted = endpoints.submit(peer, "fill", str(jobs))
    before, parent = _cpu(worker.pid), cpu.seconds(worker.pid)
    released = broker.release(latency_ms)
    meter = wait(broker, peer, jobs)
    spent = (_cpu(worker.pid) - before, cpu.seconds(worker.pid) - parent)
    return Drained(meter, submitted, jobs / (meter["last"] - released), *(1000 * one / jobs for one in spent))


def _singly(broker: Broker, endpoints: Endpoints, peer: Peer) -> dict[str, Any]:
    """Measure the cost of jobs that are submitted one at a time, without a backlog."""
    broker.reset()
    endpoints.submit(peer, "fill", str(SINGLE_JOBS), str(SINGLE_SECONDS))
    return _per_job(wait(broker, peer, SINGLE_JOBS), SINGLE_JOBS)


def _per_job(meter: Meter, jobs: int) -> dict[str, Any]:
    units = {
        f"{table} {part}": count / jobs
        for table, parts in meter["units"].items()
        for part, count in sorted(parts.items())
    }
    return {
        "requests": {name: count / jobs for name, count in sorted(meter["requests"].items())},
        "units": units,
        "write_units": sum(count for name, count in units.items() if " write " in name),
        "read_units": sum(count for name, count in units.items() if " read " in name),
    }


def _cpu(worker: int) -> float:
    return cpu.seconds(worker) + cpu.seconds_of_children(worker)


def wait(broker: Broker, peer: Peer, jobs: int, seconds: float = DONE_SECONDS) -> Meter:
    """Wait until jobs have ended; return the meter."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        meter = broker.meter(peer, jobs)
        if meter is not None:
            return meter
        time.sleep(broker.step_seconds)
    raise TimeoutError(f"{peer.key} did not finish {jobs} jobs in {seconds:g} s")
