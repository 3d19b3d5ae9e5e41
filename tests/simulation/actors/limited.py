"""What a worker asks of the fleet before a body: a place under a concurrency key, a start of a rate, a breaker."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Final

from jobclaim.fleet.breaker import Breaker, Breakers
from jobclaim.fleet.limits import FleetLimits
from jobclaim.jobs import Job, JobError, JobRepo, StoreUnavailable
from jobclaim.jobs.protocol.releases import Held
from jobclaim.workers.attempt import admission
from tests.simulation.actors.stage import Stage
from tests.simulation.line import Process
from tests.simulation.queues import TASK
from tests.simulation.scenario import FAULTY_MS

NAME: Final = "work/tenant"
MOST: Final = 1
INTERVAL_MS: Final = 4_000
BURST: Final = 2
LIMITED: Final = SimpleNamespace(
    name=TASK,
    concurrency_limit=MOST,
    rate_limit=f"{60_000 // INTERVAL_MS}/m",
    rate_burst=BURST,
    soft_time_limit=15,
    time_limit=20,
)
SERVICE: Final = Breaker(name="service", failures=2, window_seconds=60, open_seconds=40, probe_seconds=30)


class Limited:
    """The limits of one worker's jobs; asks nothing where the run has none."""

    def __init__(self, stage: Stage, process: Process, repo: JobRepo) -> None:
        self._stage, self._process, self._repo = stage, process, repo
        self._dimensions = stage.scenario.dimensions
        self._limits = FleetLimits.of(repo)
        self._breakers = Breakers.of(repo)

    def admits(self, job: Job) -> bool:
        """Whether a claimed job may start; one that may not is given back, as a task gives it back."""
        until, slot = self._held_until(job)
        if not until:
            return True
        give_back = partial(self._repo.release, available_at=until, reason="held", held=Held.RATE_LIMIT)
        try:
            after = give_back(job.job_id, started=False, slot=slot)
        except JobError:
            return False
        self._stage.publish(self._process, after)
        return False

    def _held_until(self, job: Job) -> tuple[int, int]:
        try:
            if "limits" in self._dimensions:
                hold = admission.ask(LIMITED, job, NAME, self._limits, self._process.clock())
                if hold is not None:
                    return hold.until, hold.slot
            if "breaker" in self._dimensions:
                until, now = self._breakers.ask(SERVICE), self._process.clock()
                return until or (now if now >= job.lease_expires_at else 0), 0
        except StoreUnavailable:
            return self._process.clock() + admission.LONGEST_WAIT_MS, 0
        return 0, 0

    def started(self, job: Job) -> None:
        """Have the judge look at the start."""
        if "limits" in self._dimensions:
            self._stage.oracle.limited(self._process, job, MOST, INTERVAL_MS, BURST)

    def call(self) -> bool:
        """Call the service, which is down for half of the time; tell its breaker what came of it."""
        if "breaker" not in self._dimensions:
            return True
        up = self._process.shared.world.now % FAULTY_MS > FAULTY_MS // 2 or self._process.shared.world.calm
        self._stage.oracle.called(self._process, up=up)
        try:
            if up:
                self._breakers.succeeded(SERVICE)
            elif self._breakers.failed(SERVICE):
                self._stage.oracle.knows_it_open(self._process)
        except StoreUnavailable:
            self._process.note("breaker not told")
            self._stage.oracle.untold(self._process)
        return up

    def leave(self, job: Job) -> None:
        """Leave the concurrency key."""
        if "limits" in self._dimensions:
            try:
                self._limits.leave(NAME, job)
            except StoreUnavailable:
                self._process.note("its place is left to who comes next")
