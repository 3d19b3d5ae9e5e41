"""Rules about lateness, in seconds: what must have happened once nothing goes wrong any more."""

from __future__ import annotations

from typing import Final

from jobclaim.jobs.storage.note_keys import SEPARATOR
from tests.simulation.expressions import Item
from tests.simulation.judge.facts import Facts, require
from tests.simulation.judge.record import Record
from tests.simulation.scenario import SKEW_MS, STALLS_MS, SWEEP_MS

SETTLED_MS: Final = 3 * SWEEP_MS + 2 * SKEW_MS
"""How long after its time an orphan, a lost message or a due retry may wait: a round of passes on small pages."""
STARTED_MS: Final = SETTLED_MS + STALLS_MS[-1] + 30_000
"""How long a job may wait for a worker: all may stand still when it becomes calm, and others run before it."""


class TimeJudge(Record):
    """Looks at the table after each pass of recovery that nothing has disturbed."""

    def after_calm_pass(self, items: dict[str, Item], began: int) -> None:
        """Judge what a pass has left behind; ``began`` is when it began."""
        self.calm_since = self.calm_since or began
        for key, item in items.items():
            job = Facts(item)
            if key in self.strange or SEPARATOR in key:
                continue
            if job.status == "PROCESSING":
                self._in_time(key, "an orphan", job.lease_expires_at, SETTLED_MS)
            elif job.status == "PENDING":
                wait = self.settings.redispatch_delay(job.queue, max(1, job.dispatches)) * 1000
                since = max(self.calm_since, job.available_at, job.dispatched_at)
                self._in_time(key, "a waiting job", round(since + wait), STARTED_MS)
            elif job.status == "FAILED" and job.dead_state == "SCHEDULED":
                self._in_time(key, "a due retry", job.retry_at, SETTLED_MS)

    def _in_time(self, key: str, what: str, due: int, most: int) -> None:
        late = self.world.now - max(due, self.calm_since)
        require(late <= most, "nothing is late", f"{key}: {what} waits for {late} ms, {most} are allowed")
