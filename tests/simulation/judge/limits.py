"""Rules about what the fleet keeps together: concurrency, rates, breakers, and what main processes record."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from jobclaim.jobs import Job
from tests.simulation.judge.facts import Facts, require
from tests.simulation.judge.record import Record
from tests.simulation.line import Process
from tests.simulation.scenario import SKEW_MS

SERVICE_KEY = "#breaker#service"


@dataclass
class LimitJudge(Record):
    """Counts starts and calls itself.

    Attributes
    ----------
    limited_at : list of int
        When limited bodies started.
    running : dict
        Limited jobs whose body runs, by claim token.
    calls : dict
        How often each process has called the service since its breaker opened.
    """

    limited_at: list[int] = field(default_factory=list)
    running: dict[str, Job] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    opened_until: int = 0

    def limited(self, process: Process, job: Job, most: int, interval_ms: int, burst: int) -> None:
        """Judge a start under a limit; clocks that differ by so much may give out so many more starts.

        An attempt whose claim is over, because its worker stood still, does not count: nothing tells it before it
        writes.
        """
        table = process.shared.database.items(self.settings.job_table)
        self.running[job.claim_token] = job
        self.running = {
            token: other
            for token, other in self.running.items()
            if Facts(table.get(other.job_id)).claim_token == token
            and Facts(table.get(other.job_id)).status == "PROCESSING"
            and self.bodies[other.job_id][other.attempt].until is None
        }
        require(len(self.running) <= most, "concurrency holds", f"{[one.job_id for one in self.running.values()]} run")
        now = self.world.now
        self.limited_at.append(now)
        for back in (interval_ms, 5 * interval_ms, 15 * interval_ms):
            found = sum(at > now - back for at in self.limited_at)
            allowed = burst + 1 + (back + 2 * SKEW_MS) / interval_ms
            require(found <= allowed, "rates hold", f"{found} starts in {back} ms, {allowed:.1f} are allowed")

    def called(self, process: Process, *, up: bool) -> None:
        """Judge a call to the service: a process that does not know yet learns it from its own first failure."""
        record = Facts(process.shared.database.items(self.settings.fleet_table).get(SERVICE_KEY))
        until = record.open_until
        if until != self.opened_until:
            self.opened_until = until
            self.calls.clear()
        if not until or up or process.clock() >= until - 2 * SKEW_MS:
            return
        self.calls[process.name] += 1
        count = self.calls[process.name]
        require(count <= 1, "an open breaker lets nothing through", f"{process.name} called {count} times")

    def knows_it_open(self, process: Process) -> None:
        """Take note that a process was told by its own failure that the breaker is open."""
        self.opened_until = Facts(process.shared.database.items(self.settings.fleet_table).get(SERVICE_KEY)).open_until
        self.calls[process.name] = 1

    def untold(self, process: Process) -> None:
        """Take note that a call's failure could not be told: its process knows no more than before."""
        self.calls[process.name] = 0

    def recorded(self, process: Process, job: Job, *, given_up: bool) -> None:
        """Judge what a main process has recorded: the attempt of a lost child does not stay open."""
        found = Facts(process.shared.database.items(self.settings.job_table).get(job.job_id))
        stays = found.status == "PROCESSING" and found.claim_token == job.claim_token
        require(given_up or not stays, "a lost child's attempt is ended", f"{job.job_id}: {job.attempt}")

    def answered(self, process: Process, job: Job, answer: str) -> None:
        """Judge what a person was told of a cancel: what is called cancelled has no run any more."""
        found = Facts(process.shared.database.items(self.settings.job_table).get(job.job_id))
        same = found.submission == job.submission and found.status in ("PENDING", "PROCESSING")
        require(
            answer != "cancelled" or not same, "who is told cancelled may rely on it", f"{job.job_id}: {found.status}"
        )
