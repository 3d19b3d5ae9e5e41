"""What the actors of one run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jobclaim.jobs import Job
from tests.simulation.judge.oracle import Oracle
from tests.simulation.line import Process, Shared
from tests.simulation.queues import TASK, Queue
from tests.simulation.scenario import Scenario
from tests.simulation.world import Crash

ANOTHER_TASK: Final = "another"
KEYS: Final = ("a", "b")


@dataclass
class Stage:
    """What the actors of one run share.

    Attributes
    ----------
    job_ids : list of str
        All jobs that were submitted, for people to choose from.
    calm_sweeps : int
        Passes of recovery that began and ended without faults.
    """

    shared: Shared
    scenario: Scenario
    oracle: Oracle
    queues: dict[str, Queue]
    job_ids: list[str]
    calm_sweeps: int = 0
    busy: int = 0

    def queue_of(self, job: Job) -> Queue:
        """Give the queue of a job's messages."""
        return self.queues[job.queue]

    def process(self, kind: str, number: int, life: int = 0) -> Process:
        """Make a process with random numbers of its own."""
        name = f"{kind}{number}" + (f".{life}" if life else "")
        return Process(self.shared, name, kind, self.shared.world.stream(name))

    def lives(self, kind: str, number: int, live: Callable[[Process], None]) -> Callable[[], None]:
        """Give a process that is started anew whenever it crashes."""

        def run() -> None:
            life = 0
            while True:
                process = self.process(kind, number, life)
                try:
                    live(process)
                except Crash:
                    process.note("CRASHES")
                    life += 1
                    self.shared.world.pause(process.random.choice((100, 2_000, 30_000)))
                else:
                    return

        return run

    def publish(self, process: Process, job: Job, *, named: bool = True) -> None:
        """Send a job's message unless it waits for a time too far ahead; recovery makes up for a failure."""
        if self.scenario.strangers:
            for task in (TASK, ANOTHER_TASK):
                self.queue_of(job).forge(job.job_id, job.attempt, task)
        if job.dispatches:
            try:
                delay = max(0, job.available_at - process.clock()) / 1000
                self.queue_of(job).send(job.job_id, job.attempt if named else None, delay)
            except ConnectionError:
                process.note(f"{job.job_id[:12]}: message not sent")
