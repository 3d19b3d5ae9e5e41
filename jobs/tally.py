"""Counts that the whole fleet adds up for alerts: one small item of the fleet table per five minutes.

Each process adds what it counted every few seconds, and at its end, so a submission costs no request of its own; what a
process that is killed counted last is lost with it. Failures of critical tasks are rare and written at once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from jobclaim.jobs.clock import Clock
from jobclaim.jobs.errors import StoreUnavailable
from jobclaim.jobs.failures import dead, hooks
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.storage import schema
from jobclaim.jobs.storage.item import Item, attribute
from jobclaim.jobs.storage.records import Records

if TYPE_CHECKING:
    from jobclaim.jobs.repo.store import Store

log = get_logger("jobclaim.jobs")

PREFIX: Final = "#tally#"
WINDOW_MS: Final = 300_000
FLUSH_MS: Final = 10_000
KEPT_SECONDS: Final = 86_400
LAST_SECONDS: Final = 3.0
"""How long a process that ends waits for its last counts to be written."""
COUNTERS: Final = ("submitted", "duplicates", "critical")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the fleet counted in this window and the one before.

    Attributes
    ----------
    critical : int
        Failures of critical tasks.
    last_task, last_job : str
        Task and id of the last of them.
    """

    submitted: int = 0
    duplicates: int = 0
    critical: int = 0
    last_task: str = ""
    last_job: str = ""


class Tally(Records):
    """Adds to the fleet's counts, and reads them; thread-safe. A count that cannot be written is logged and dropped."""

    def __init__(self, client: Callable[[], Any], table: str, *, clock: Clock, sleep: Callable[[float], None]) -> None:
        super().__init__(client, table, clock=clock, sleep=sleep)
        self._counted: Counter[str] = Counter()
        self._flushed_at = clock()
        self._lock = threading.Lock()

    def count(self, name: str, by: int = 1) -> None:
        """Count something; written with the first count that comes ten seconds after the last write."""
        with self._lock:
            self._counted[name] += by
            due = self._clock() - self._flushed_at >= FLUSH_MS
        if due:
            self.flush()

    def flush(self, *, last: bool = False) -> None:
        """Write what was counted; ``last``: by one short try, for a process that is about to end."""
        with self._lock:
            counted, self._counted = self._counted, Counter()
            self._flushed_at = self._clock()
        if counted:
            self._add(counted, {}, last=last)

    def failed_critically(self, job: Job) -> None:
        """Note the failure of a critical task: one write."""
        self._add(Counter(critical=1), {"last_task": attribute(job.task), "last_job": attribute(job.job_id)})

    def read(self) -> Counts:
        """Give the counts of this window and the one before. Raises `StoreUnavailable`."""
        now = self._clock()
        totals: Counter[str] = Counter()
        last = {"last_task": "", "last_job": ""}
        for at in (now - WINDOW_MS, now):
            answer = self._ask(lambda at=at: self._client().get_item(TableName=self._table, Key=_key(at)))  # type: ignore[misc]
            item = answer.get("Item", {})
            totals.update({name: int(item[name]["N"]) for name in COUNTERS if name in item})
            last.update({name: item[name]["S"] for name in last if name in item})
        return Counts(**{name: totals[name] for name in COUNTERS}, **last)  # type: ignore[arg-type]

    def _add(self, counted: Counter[str], notes: Item, *, last: bool = False) -> None:
        now = self._clock()
        names = {"#ttl": schema.FLEET_TTL} | {f"#{name}": name for name in (*counted, *notes)}
        values = {f":{name}": attribute(number) for name, number in counted.items()}
        sets = ", ".join(["#ttl = :ttl", *(f"#{name} = :{name}" for name in notes)])
        adds = ", ".join(f"#{name} :{name}" for name in counted)
        request = {
            "TableName": self._table,
            "Key": _key(now),
            "UpdateExpression": f"SET {sets} ADD {adds}",
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {
                ":ttl": attribute(now // 1000 + KEPT_SECONDS),
                **values,
                **{f":{name}": value for name, value in notes.items()},
            },
        }
        try:
            if last:
                _hurried(self._client()).update_item(**request)
            else:
                self._ask(lambda: self._client().update_item(**request))
        except (StoreUnavailable, ClientError, BotoCoreError) as error:
            log.warning("not counted", reason=str(error))


def _hurried(client: Any) -> Any:
    """Give a client that takes little time, where there is one; boto3's own takes its timeouts, twice."""
    hurried = getattr(client, "hurried", None)
    return client if hurried is None else hurried(LAST_SECONDS)


def _key(at: int) -> Item:
    return {schema.FLEET_KEY: attribute(f"{PREFIX}{at // WINDOW_MS * WINDOW_MS}")}


def announce_failure(repo: Store, job: Job) -> None:
    """Tell the user's hooks of a job that failed, and the fleet's counts where its task is critical."""
    if job.status is not JobStatus.FAILED:
        return
    if dead.is_critical(job, repo.settings):
        Tally.of(repo).failed_critically(job)
    hooks.tell(job)


def announce_end(repo: Store, job: Job) -> None:
    """Say in the log how an attempt ended, then tell of a failure as `announce_failure`."""
    duration = round((job.finished_at - job.claimed_at) / 1000, 3)
    if job.status is JobStatus.CANCELLED:
        log.warning("cancelled", duration_seconds=duration, **job.log_context())
    elif job.failure is not None:
        failure = {"kind": str(job.failure.kind), "exception": job.failure.exception}
        log.error("failed", duration_seconds=duration, **failure, **job.log_context())
    else:
        log.info("completed", duration_seconds=duration, **job.log_context())
    announce_failure(repo, job)
