"""One pass of recovery: safe to run anywhere, any number of times, in parallel with itself.

::

    RETRY#<shard>   |··· due: failed jobs to start again ···|now|·· not due yet: never read ··|

    fleet table ── dead workers ──▶ their jobs, by id
                └─ cursor ────────▶ OPEN#<queue>#<shard>   |······ due ······|now|·· not due yet ··|
                                         from where the last round stopped ──▶     ──▶ what is new there

A pass reads the index of open jobs and the items behind the entries that are old enough to need something. It never
scans the job table, so finished jobs cost it nothing. It is bounded per partition and in time, and the next one goes on
where it stopped. Every action is one conditional write on what was read: where somebody else was first, it is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from typing import Final, TypeVar

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.errors import JobError
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.repo import JobRepo
from jobclaim.recovery.cursor import Cursor, Mark
from jobclaim.recovery.decide import LOOK_AHEAD_MS, DeadWorker, Figures, worth_reading_after_ms
from jobclaim.recovery.fleet import FleetView, RecoveryFleet
from jobclaim.recovery.settle import Backlog, Messages, Send, Settler
from jobclaim.recovery.walk import Stamina, Walker
from jobclaim.settings import Settings

log = get_logger("jobclaim.recovery")
T = TypeVar("T")

REDISPATCH_CAP: Final = 25
"""Messages that a queue with a backlog gets again in one pass."""
PASS_MS: Final = 120_000
"""Time after which a pass leaves the rest to the next one; half of it may go to jobs that are not due yet."""
DEAD_WORKER_PAGES: Final = 10
"""Times more pages while a dead worker's queue is looked through: its jobs are wanted within a minute or so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What one pass did. All but the cursor are counts.

    Attributes
    ----------
    examined : int
        Jobs read and decided on.
    orphaned : int
        Orphans that were settled, FAILED or PENDING again.
    retried : int
        Those of them that became PENDING again.
    redispatched : int
        PENDING jobs whose message was sent again.
    scheduled : int
        PENDING jobs whose first message was sent, because they are due soon.
    given_up : int
        PENDING jobs that became FAILED because none of their messages was claimed.
    expired : int
        PENDING jobs that became CANCELLED because they were not started in time.
    revived : int
        FAILED jobs that were started again by their dead-letter rule.
    refused : int
        Writes that came too late: the job had changed meanwhile, which is normal.
    held : int
        Messages put off: their queue has a backlog, or sends keep failing.
    unsent : int
        Messages that could not be sent; a later pass sends them.
    failed : int
        Reads and writes that failed; a later pass tries again.
    dead_workers : int
        Dead workers whose jobs are all settled and whose records were removed.
    truncated : int
        Stretches of the index with more to look at than one pass may; the next pass goes on there.
    cursor : Cursor
        Where it goes on.
    """

    examined: int = 0
    orphaned: int = 0
    retried: int = 0
    redispatched: int = 0
    scheduled: int = 0
    given_up: int = 0
    expired: int = 0
    revived: int = 0
    refused: int = 0
    held: int = 0
    unsent: int = 0
    failed: int = 0
    dead_workers: int = 0
    truncated: int = 0
    cursor: Cursor = field(default_factory=Cursor)

    def counts(self) -> dict[str, int]:
        """Return all counts by name, for a log line or a table."""
        return {name: value for name, value in asdict(replace(self, cursor=Cursor())).items() if name != "cursor"}


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
        Gives table, settings and clock. Only the queues of its settings are looked at.
    send : callable, optional
        ``send(job, delay_seconds)`` publishes a job's message; default `jobclaim.workers.apps.send`.
    backlog : callable, optional
        ``backlog(queue)`` gives the number of waiting messages; default: SQS is asked, when it matters.
    fleet : RecoveryFleet, optional
        Dead workers and the place to go on; default: the settings' fleet table. A pass that cannot read it does
        without: it starts from the oldest jobs, and leases find what dead workers left.
    redispatch_cap : int
        Messages that a queue with a backlog gets again in this pass; one without gets as many as are lost.

    Returns
    -------
    SweepReport
        Single failures are logged and counted in it; they never end the pass.
    """
    fleet = fleet or RecoveryFleet.of(repo)
    view = _look(fleet, repo.clock())
    messages = Messages(send or _default_send(repo.settings), backlog or _default_backlog(repo), redispatch_cap)
    settler = Settler(repo, messages, Figures(repo.settings, view.dead, view.vouched))
    one = _Pass(repo, settler, view)
    one.run()
    if view.known:
        _bury(fleet, one)
        _save(fleet, one, view.cursor)
    return SweepReport(**settler.counts, cursor=one.cursor)


class _Pass:
    """One pass over all partitions. Times are epoch milliseconds.

    Attributes
    ----------
    counts : Counter
    marks : dict of str to Mark
        By partition, as this pass leaves them.
    """

    def __init__(self, repo: JobRepo, settler: Settler, view: FleetView) -> None:
        self.counts = settler.counts
        self.dead = dict(view.dead)
        self.started = view.at
        self.marks = dict(view.cursor.marks)
        self._settings = repo.settings
        self._settler = settler
        self._shards = repo.table.shards
        self._covered_since: dict[str, int] = {}
        self._unread: set[str] = set()
        self._stamina = Stamina(repo.clock, self.started + PASS_MS // 2)
        self._table = repo.table
        self._walker = Walker(repo.table, settler.settle, self._stamina, self._settings.sweep_page_size)

    @property
    def cursor(self) -> Cursor:
        """Where the next pass goes on."""
        return Cursor(self.marks).trimmed(self.started, keep_rounds=bool(self.dead))

    def run(self) -> None:
        """Look at everything: first what cannot wait, then as much of the rest as fits."""
        for worker in self.dead.values():
            self._look_at_jobs_of(worker)
        for _, partition in self._partitions():
            self._look_ahead(partition)
        self._stamina.until = self.started + PASS_MS
        looks = [partial(self._look_back, queue, partition) for queue, partition in self._partitions()]
        looks += [partial(self._revive, schema.retry_key(shard)) for shard in range(self._shards)]
        for look in self._in_turn(looks):
            look()

    def settled_workers(self) -> list[DeadWorker]:
        """Dead workers of which no job can be left: every partition was looked through since they died."""
        return [
            worker
            for worker in self.dead.values()
            if worker.worker_id not in self._unread
            and all(
                self._covered_since.get(partition, 0) >= worker.dead_at
                for queue, partition in self._partitions()
                if worker.listened_on(queue)
            )
        ]

    def _partitions(self) -> Iterator[tuple[str, str]]:
        """Queue and name of all partitions, each pass beginning elsewhere, so that no end is always the last."""
        pairs = [(q, schema.open_key(q, shard)) for q in self._settings.queue_names for shard in range(self._shards)]
        yield from self._in_turn(pairs)

    def _in_turn(self, all_of_them: list[T]) -> list[T]:
        turn = self.started // 1000 % len(all_of_them)
        return all_of_them[turn:] + all_of_them[:turn]

    def _look_at_jobs_of(self, worker: DeadWorker) -> None:
        try:
            found = self._table.get_many(list(worker.job_ids))
        except JobError as error:
            log.error("lost_worker.jobs_unavailable", worker_id=worker.worker_id, reason=str(error))
            self._unread.add(worker.worker_id)
            self.counts["failed"] += 1
            return
        settled = [self._settler.settle(job) for job in found.values()]
        if not all(settled):
            self._unread.add(worker.worker_id)

    def _look_ahead(self, partition: str) -> None:
        """Send the messages of jobs that come due; what was looked at before is not looked at again."""
        mark = self.marks.get(partition, Mark())
        ahead = mark.ahead if mark.ahead and mark.ahead.at > self.started else None
        stretch = self._walker.walk(
            partition,
            after=ahead,
            since=ahead.at if ahead else self.started + 1,
            up_to=self.started + LOOK_AHEAD_MS,
            pages=self._settings.sweep_pages_per_shard,
        )
        self.counts["failed"] += stretch.failures
        self.counts["truncated"] += not stretch.finished
        self.marks[partition] = replace(mark, ahead=stretch.last_clean)

    def _revive(self, partition: str) -> None:
        """Start failed jobs again whose time has come. What is done leaves the partition, so no cursor is needed."""
        stretch = self._walker.walk(
            partition, after=None, since=None, up_to=self.started, pages=self._settings.sweep_pages_per_shard
        )
        self.counts["failed"] += stretch.failures
        self.counts["truncated"] += not stretch.finished

    def _look_back(self, queue: str, partition: str) -> None:
        """Look at due jobs, from where the round before stopped."""
        mark = self.marks.get(partition, Mark())
        haunted = any(worker.listened_on(queue) for worker in self.dead.values())
        stretch = self._walker.walk(
            partition,
            after=mark.overdue,
            since=None,
            up_to=self.started - (0 if haunted else worth_reading_after_ms(self._settings, queue)),
            pages=self._settings.sweep_pages_per_shard * (DEAD_WORKER_PAGES if haunted else 1),
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


def _bury(fleet: RecoveryFleet, one: _Pass) -> None:
    """Remove the records of dead workers that left nothing; one that was seen again meanwhile keeps its."""
    for worker in one.settled_workers():
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
    """Keep the SQS client between passes: making one takes a third of a second of CPU."""
    from jobclaim.recovery.backlog import SqsBacklog

    return SqsBacklog(repo.settings)
