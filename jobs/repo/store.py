"""The base of every part of the repo: the table, the clock and the claims."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from typing import Any, Final, Self

from jobclaim.jobs.clock import Clock, system_clock, wait
from jobclaim.jobs.failures import dead
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.protocol.claims import ClaimBook
from jobclaim.jobs.repo.runs import Runs
from jobclaim.jobs.storage.connect import PerProcess
from jobclaim.jobs.storage.counters import Counters
from jobclaim.jobs.storage.large import Large
from jobclaim.jobs.storage.pauses import KnownPauses
from jobclaim.jobs.storage.statistics import Statistics
from jobclaim.jobs.storage.table import JobTable
from jobclaim.jobs.transitions import Move
from jobclaim.settings import Settings

log = get_logger("jobclaim.jobs")

SENDER: Final = "jobclaim.workers.apps:send"
"""Sender for a repo that belongs to no app; imported by name because this layer does not import Celery."""


class Store:
    """A job table with the settings and the clock that apply to its jobs; parameters as those of `JobRepo`."""

    def __init__(
        self,
        client: Any = None,
        table_name: str | None = None,
        *,
        settings: Settings | None = None,
        clock: Clock = system_clock,
        sleep: Callable[[float], None] = wait,
    ) -> None:
        self.settings = known = settings or Settings()
        self.clock = clock
        self._any_queue = settings is None
        self._claims = ClaimBook()
        self._runs: Runs[Any] = Runs()
        self.sender: Callable[[Job], object] | None = None
        """Publishes a job's message; default: through an app with the repo's settings."""
        self.retention = lifecycle.Retention(
            completed=round(known.completed_retention_days * 86_400_000),
            dead=round(known.dead_retention_days * 86_400_000),
            retry_after=lambda job, kind: dead.rule_of(job, kind, known).delay_seconds(job.dead_retries),
        )
        own = PerProcess(lambda: _connect(known))
        self.table = JobTable(
            (lambda: client) if client is not None else own.get,
            table_name or known.job_table,
            clock=clock,
            shards=known.index_shards,
            index_completed=known.index_completed,
            sleep=sleep,
        )
        self.statistics = Statistics.of(self)
        if known.statistics:
            self.table.on_move = self.statistics.moved
        self.counts = Counters.of(self)
        """What this process adds to the fleet's counts."""
        self.pauses = KnownPauses.of(self)
        """Queues and tasks of which no job may be claimed now."""
        self.large = Large(known, self.table.payloads, clock=clock, sleep=sleep)

    @classmethod
    def from_settings(cls, settings: Settings, *, client: Any = None, clock: Clock = system_clock) -> Self:
        """Create a repo with the table, endpoint and queues of the settings."""
        return cls(client, settings=settings, clock=clock)

    @cached_property
    def own_tables(self) -> frozenset[str]:
        """Names of the tables that only jobclaim writes to."""
        return frozenset({self.table.name, self.settings.job_table, self.settings.fleet_table})

    def send(self, job: Job) -> bool:
        """Send the message of a job that is due soon, and return whether it was sent; if not, recovery sends it."""
        if not job.dispatches:
            return False
        try:
            (self.sender or self._send_by_settings)(job)
        except Exception as error:  # noqa: BLE001 - after any error the job is written, and recovery sends its message
            log.warning("message.not_sent", error=type(error).__name__, **job.log_context())
            return False
        return True

    def _send_by_settings(self, job: Job) -> None:
        module, _, name = SENDER.partition(":")
        delay = max(0, job.available_at - self.clock()) / 1000
        getattr(import_module(module), name)(self.settings, job, delay)

    def flush(self) -> None:
        """Write this process's pending counts and statistics, with one short try each.

        Only needed where a process does not end as usual: at the end of a Lambda handler, or before ``os._exit``.
        """
        self.counts.flush(last=True)
        self.statistics.flush(last=True)

    def count_submission(self, *, created: bool) -> None:
        """Count a submission for the fleet, in memory; a duplicate found an equal job that exists already."""
        self.counts.count("submitted")
        if not created:
            self.counts.count("duplicates")

    def _end_late(self, job: Job) -> Job:
        """Cancel a job that was not started before its ``start_by``; return the current job, whoever ended it."""
        written = self.table.apply(job, Move.CANCEL, lifecycle.late(job, self.clock(), self.retention))
        if written.applied:
            log.warning("job.expired", status="SKIPPED", start_by=job.start_by, **job.log_context())
        return written.job or job


def _connect(settings: Settings) -> Any:
    from jobclaim.jobs.storage.lean import client_of

    return client_of(settings, "dynamodb")
