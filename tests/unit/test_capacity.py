"""The recommended number of processes: a pure function of a queue's status and the workers' records."""

from __future__ import annotations

import pytest

from jobclaim.fleet.workers import WorkerRecord
from jobclaim.views.capacity import Capacity, capacity
from jobclaim.views.queue_status import QueueStatus


def status(burn: float, waiting: int) -> QueueStatus:
    return QueueStatus("mail", 5, 60, 0, 0, 0, 0, waiting, 0, 0, False, 60 * burn, burn)


def worker(busy: int, *queues: str) -> WorkerRecord:
    jobs = tuple(f"j{number}" for number in range(busy))
    return WorkerRecord(worker_id="w", seen_at=1, queues=queues or ("mail",), jobs=jobs, concurrency=4)


@pytest.mark.parametrize(
    ("burn", "waiting", "busy", "recommended", "says"),
    [
        (2.0, 9, (4, 4), 16, "waits 2 times the SLA, and 100% of the processes are busy"),
        (1.2, 9, (4, 3), 10, "waits 1.2 times the SLA"),
        (50.0, 9, (4, 4), 32, "waits 50 times the SLA"),
        (2.0, 9, (1, 0), 8, "not a lack of processes"),
        (0.9, 9, (4, 4), 8, "the SLA holds"),
        (0.0, 0, (2, 0), 3, "nothing waits, and 25% of the processes are busy"),
        (0.0, 0, (0, 0), 1, "nothing waits"),
        (0.1, 1, (0, 0), 8, "the SLA holds"),
        (0.0, 0, (3, 2), 8, "the SLA holds"),
    ],
)
def test_the_number_follows_the_wait_where_processes_are_what_lacks(
    burn: float, waiting: int, busy: tuple[int, ...], recommended: int, says: str
) -> None:
    found = capacity(status(burn, waiting), [*(worker(each) for each in busy), worker(4, "other")])
    assert (found.processes, found.busy, found.recommended) == (8, sum(busy), recommended)
    assert says in found.why


def test_a_queue_without_a_worker_needs_one_only_where_jobs_wait() -> None:
    assert capacity(status(3.0, 2), [worker(4, "other")]) == Capacity(
        0, 0, 1, "jobs wait and no worker listens: start one"
    )
    assert capacity(status(0.0, 0), []) == Capacity(0, 0, 0, "no worker listens")
