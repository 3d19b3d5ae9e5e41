"""How many processes a queue needs: from the wait of its oldest job and from how busy its workers are.

The rule is that of common autoscalers: the number of processes is multiplied by the ratio of the measured value to the
wanted one. No duration of jobs is needed, so it holds from the first minute; after a change, look again when the wait
has settled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from jobclaim.fleet.workers import WorkerRecord
from jobclaim.views.queue_status import QueueStatus

BUSY: Final = 0.8
"""Share of processes that work, from which a wait is for lack of processes."""
WANTED: Final = 0.7
"""Share of processes that should work: the rest takes what arrives at once."""
IDLE: Final = 0.35
"""Share below which processes are not needed."""
MOST: Final = 4
"""Largest factor of one recommendation: a wait also grows when jobs hang, and more processes do not help then."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The recommendation for one queue.

    Attributes
    ----------
    processes, busy : int
        Processes of live workers that listen to the queue, and those of them that hold a job, of any queue.
    recommended : int
        Recommended number of processes.
    why : str
    """

    processes: int
    busy: int
    recommended: int
    why: str


def capacity(status: QueueStatus, workers: Iterable[WorkerRecord]) -> Capacity:
    """Recommend a number of processes for a queue.

    Parameters
    ----------
    workers : iterable of WorkerRecord
        Live workers; those that do not listen to the queue are left out.
    """
    listening = [worker for worker in workers if status.queue in worker.queues]
    processes = sum(worker.concurrency for worker in listening)
    busy = sum(min(len(worker.jobs), worker.concurrency) for worker in listening)
    recommended, why = _decided(status, processes, busy)
    return Capacity(processes, busy, recommended, why)


def _decided(status: QueueStatus, processes: int, busy: int) -> tuple[int, str]:
    if not processes:
        return (1, "jobs wait and no worker listens: start one") if status.waiting else (0, "no worker listens")
    use = busy / processes
    if status.sla_burn > 1 and use >= BUSY:
        target = math.ceil(processes * min(status.sla_burn, MOST))
        return (
            target,
            f"the oldest job waits {status.sla_burn:g} times the SLA, and {use:.0%} of the processes are busy",
        )
    if status.sla_burn > 1:
        return processes, (
            f"the oldest job waits {status.sla_burn:g} times the SLA though only {use:.0%} of the processes are busy: "
            "not a lack of processes; see `jobclaim show` for why it waits"
        )
    if use < IDLE and not status.waiting and processes > 1:
        return max(1, math.ceil(busy / WANTED)), f"nothing waits, and {use:.0%} of the processes are busy"
    return processes, f"the SLA holds, and {use:.0%} of the processes are busy"
