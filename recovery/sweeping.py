"""The recovery pass: safe to run anywhere, any number of times, in parallel with itself.

::

    RETRY#<shard>   |··· due: failed jobs to start again ···|now|·· not due yet: never read ··|

    fleet table ── lost workers ──▶ their jobs, by id
                └─ cursor ────────▶ OPEN#<queue>#<shard>   |······ due ······|now|·· not due yet ··|
                                         from where the last round stopped ──▶     ──▶ what is new there

A pass reads the index of open jobs and the items behind the entries that are old enough to need something. It never
scans the job table, so finished jobs cost nothing. It is bounded per partition and in time, and the next one continues
where it stopped. Every action is one conditional write on what was read: if the job has changed since, the write is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial
from typing import Final, TypeVar

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.errors import JobError
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.repo import JobRepo
from jobclaim.recovery.cursor import Cursor, Mark
from jobclaim.recovery.decide import LOOK_AHEAD_MS, Figures, LostWorker, worth_reading_after_ms
from jobclaim.recovery.fleet import FleetView, RecoveryFleet
from jobclaim.recovery.handling import Backlog, JobHandler, Messages, Send
from jobclaim.recovery.report import SweepReport
from jobclaim.recovery.walk import PassBudget, Walker
from jobclaim.settings import Settings

log = get_logger("jobclaim.recovery")
T = TypeVar("T")

REDISPATCH_CAP: Final = 25
"""Repeated messages for a queue with a backlog in one pass."""
PASS_MS: Final = 120_000
"""Time after which a pass leaves the rest to the next one; up to half of it is for jobs that are not due yet."""
LOST_WORKER_PAGES: Final = 10
"""Factor for the pages read from a lost worker's queue: its jobs are to be found within about a minute."""


class AwayFromHome(JobError):
    """This region is not the one in which jobs are claimed."""


def sweep(
    repo: JobRepo,
    *,
    send: Send | None = None,
    backlog: Backlog | None = None,
    fleet: RecoveryFleet | None = None,
    redispatch_cap: int = REDISPATCH_CAP,
) -> SweepReport:
    """Find orphans, lost messages and jobs that are due soon, and act on them.

    Parameters
    ----------
    repo : JobRepo
        Provides table, settings and clock. Only the queues of its settings are read.
    send : callable, optional
        ``send(job, delay_seconds)`` publishes a job's message; default `jobclaim.workers.apps.send`.
    backlog : callable, optional
        ``backlog(queue)`` returns the number of waiting messages; default: SQS is asked, when needed.
    fleet : RecoveryFleet, optional
        Lost workers and the cursor; default: the settings' fleet table. A pass that cannot read it starts from the
        oldest jobs, and finds the orphans of lost workers by their leases.
    redispatch_cap : int
        Repeated messages for a queue with a backlog in this pass; a queue without one gets as many as are lost.

    Returns
    -------
    SweepReport
        Single failures are logged and counted; they never end the pass.

    Raises
    ------
    AwayFromHome
        This region holds a replica of the job table, and jobs are claimed in another one.
    """
    if problem := repo.settings.away_from_home:
        raise AwayFromHome(f"recovery does not run: {problem}")
    fleet = fleet or RecoveryFleet.of(repo)
    view = _look(fleet, repo.clock())
    messages = Messages(send or _default_send(repo.settings), backlog or _default_backlog(repo), redispatch_cap)
    handler = JobHandler(repo, messages, Figures(repo.settings, view.dead, view.vouched, view.pauses, view.known))
    one = _Pass(repo, handler, view)
    one.run()
    if view.known:
        _remove_lost_workers(fleet, one)
        _save(fleet, one, view.cursor)
    return SweepReport(**handler.counts, cursor=one.cursor)


class _Pass:
    """One pass over all partitions. Times are epoch milliseconds.

    Attributes
    ----------
    counts : Counter
    marks : dict of str to Mark
        State of each partition at the end of this pass.
    """

    def __init__(self, repo: JobRepo, handler: JobHandler, view: FleetView) -> None:
        self.counts = handler.counts
        self.dead = dict(view.dead)
        self.started = view.at
        self.marks = dict(view.cursor.marks)
        self._settings = repo.settings
        self._handler = handler
        self._shards = repo.table.shards
        self._covered_since: dict[str, int] = {}
        self._unread: set[str] = set()
        self._budget = PassBudget(repo.clock, self.started + PASS_MS // 2)
        self._table = repo.table
        self._walker = Walker(repo.table, handler.handle, self._budget, self._settings.sweep_page_size)

    @property
    def cursor(self) -> Cursor:
        """Where the next pass continues."""
        return Cursor(self.marks).trimmed(self.started, keep_rounds=bool(self.dead))

    def run(self) -> None:
        """Process all partitions: first what is urgent, then as much of the rest as the limits allow."""
        for worker in self.dead.values():
            self._handle_jobs_of(worker)
        for _, partition in self._partitions():
            self._send_due_soon(partition)
        self._budget.until = self.started + PASS_MS
        looks = [partial(self._handle_due, queue, partition) for queue, partition in self._partitions()]
        looks += [partial(self._revive, schema.retry_key(shard)) for shard in range(self._shards)]
        for look in self._in_turn(looks):
            look()

    def handled_workers(self) -> list[LostWorker]:
        """Return the lost workers that cannot have left a job: all partitions of their queues were read since they were
        lost.
        """
        return [
            worker
            for worker in self.dead.values()
            if worker.worker_id not in self._unread
            and all(
                self._covered_since.get(partition, 0) >= worker.lost_at
                for queue, partition in self._partitions()
                if worker.listened_on(queue)
            )
        ]

    def _partitions(self) -> Iterator[tuple[str, str]]:
        """Yield queue and name of all partitions, starting at another one in each pass, so that none is always the
        last.
        """
        pairs = [(q, schema.open_key(q, shard)) for q in self._settings.queue_names for shard in range(self._shards)]
        yield from self._in_turn(pairs)

    def _in_turn(self, all_of_them: list[T]) -> list[T]:
        turn = self.started // 1000 % len(all_of_them)
        return all_of_them[turn:] + all_of_them[:turn]

    def _handle_jobs_of(self, worker: LostWorker) -> None:
        try:
            found = self._table.get_many(list(worker.job_ids))
        except JobError as error:
            log.error("lost_worker.jobs_unavailable", worker_id=worker.worker_id, reason=str(error))
            self._unread.add(worker.worker_id)
            self.counts["failed"] += 1
            return
        handled = [self._handler.handle(job) for job in found.values()]
        if not all(handled):
            self._unread.add(worker.worker_id)

    def _send_due_soon(self, partition: str) -> None:
        """Send the messages of jobs that are due soon, from where the last pass stopped."""
        mark = self.marks.get(partition, Mark())
        ahead = mark.ahead if mark.ahead and mark.ahead.at > self.started else None
        stretch = self._walker.walk(
            partition,
            after=ahead,
            since=self.started + 1,
            up_to=self.started + LOOK_AHEAD_MS,
            pages=self._settings.sweep_pages_per_shard,
        )
        self.counts["failed"] += stretch.failures
        self.counts["truncated"] += not stretch.finished
        self.marks[partition] = replace(mark, ahead=stretch.last_clean)

    def _revive(self, partition: str) -> None:
        """Retry failed jobs that are due. A revived job leaves the partition, so no cursor is needed."""
        stretch = self._walker.walk(
            partition, after=None, since=None, up_to=self.started, pages=self._settings.sweep_pages_per_shard
        )
        self.counts["failed"] += stretch.failures
        self.counts["truncated"] += not stretch.finished

    def _handle_due(self, queue: str, partition: str) -> None:
        """Process due jobs, from where the previous round stopped."""
        mark = self.marks.get(partition, Mark())
        has_lost_worker = any(worker.listened_on(queue) for worker in self.dead.values())
        stretch = self._walker.walk(
            partition,
            after=mark.overdue,
            since=None,
            up_to=self.started - (0 if has_lost_worker else worth_reading_after_ms(self._settings, queue)),
            pages=self._settings.sweep_pages_per_shard * (LOST_WORKER_PAGES if has_lost_worker else 1),
        )
        self.counts["failed"] += stretch.failures
        since = (mark.round_since if mark.overdue else self.started) if stretch.clean else 0
        if stretch.finished:
            complete = since if mark.overdue and since else mark.complete_since
            self._covered_since[partition] = max(since, complete)
            after = replace(mark, overdue=None, round_since=0, complete_since=complete)
        else:
            self.counts["truncated"] += 1
            self._covered_since[partition] = mark.complete_since
            after = replace(mark, overdue=stretch.last, round_since=since if stretch.last else 0)
        self.marks[partition] = after


def _look(fleet: RecoveryFleet, now: int) -> FleetView:
    try:
        return fleet.read()
    except JobError as error:
        log.warning("fleet.unavailable", reason=str(error))
        return FleetView(now, known=False)


def _remove_lost_workers(fleet: RecoveryFleet, one: _Pass) -> None:
    """Remove the records of lost workers that left no jobs; a worker that was seen again meanwhile keeps its record."""
    for worker in one.handled_workers():
        try:
            removed = fleet.remove_unseen(worker.worker_id, worker.seen_at)
        except JobError as error:
            log.error("lost_worker.not_removed", worker_id=worker.worker_id, reason=str(error))
            one.counts["failed"] += 1
            continue
        del one.dead[worker.worker_id]
        one.counts["dead_workers"] += removed
        log.warning("lost_worker.recovered", worker_id=worker.worker_id, removed=removed)


def _save(fleet: RecoveryFleet, one: _Pass, before: Cursor) -> None:
    if one.cursor == before:
        return
    try:
        fleet.save(one.cursor)
    except JobError as error:
        log.error("recovery.cursor_not_saved", reason=str(error))
        one.counts["failed"] += 1


def _default_send(settings: Settings) -> Send:
    from jobclaim.workers import apps

    return partial(apps.send, settings)


@lru_cache(maxsize=4)
def _default_backlog(repo: JobRepo) -> Backlog:
    """Return the default backlog; its SQS client is kept between passes, because making one takes 0.3 s of CPU."""
    from jobclaim.recovery.backlog import SqsBacklog

    return SqsBacklog(repo.settings)
