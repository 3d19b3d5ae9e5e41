"""Pauses of queues, tasks and schedules: one record in the fleet table.

::

    people ── fleet.pauses ──▶ "#pauses" ──▶ a worker's heartbeat ──▶ its polls, and the claims of its children
                                        ├──▶ beat: a paused schedule's ticks are skipped
                                        ├──▶ recovery: held jobs are not dispatched again until the pause has ended
                                        └──▶ any other program that claims, at most once per heartbeat interval

Every read of the record is consistent, so a pause holds everywhere one heartbeat interval after it was written. A pause
with an ``until`` ends by itself, by the reader's clock. An ended one is kept for a week: recovery then dispatches the
jobs whose messages were refused during the pause.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, Self

from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute, number_in
from jobclaim.jobs.encoding.rows import record
from jobclaim.jobs.errors import StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job
from jobclaim.jobs.storage.records import HasTable, Records

log = get_logger("jobclaim.jobs")

RECORD: Final = "#pauses"
PAUSES_KEY: Final = {schema.FLEET_KEY: attribute(RECORD)}
FRESH_SHARE: Final = 0.9
"""Share of the heartbeat interval for which a reader trusts what it read: each heartbeat reads once, despite jitter."""


class PauseKind(StrEnum):
    """What can be paused."""

    QUEUE = "queue"
    TASK = "task"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One pause. Times are epoch milliseconds.

    Attributes
    ----------
    by : str
        Who paused it.
    until : int
        When it ends by itself, or was ended; 0 until a person ends it.
    ended_by : str
        Who ended it; empty for one that has not ended, or ended by itself.
    """

    kind: str
    name: str
    by: str
    reason: str
    since: int
    until: int = 0
    ended_by: str = ""

    def is_active(self, now: int) -> bool:
        """Check whether it still holds."""
        return not self.until or now < self.until

    @property
    def subject(self) -> str:
        """What is paused: ``queue mail``."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Pauses:
    """All pauses that are known, at most one for each name: active ones, and those that have ended within a week.

    Attributes
    ----------
    version : int
        Version of the record, which each change increases by one; 0 if there is no record.
    """

    known: tuple[Pause, ...] = ()
    version: int = 0

    def active(self, now: int) -> list[Pause]:
        """Return the pauses that hold, oldest first."""
        return sorted((one for one in self.known if one.is_active(now)), key=lambda one: one.since)

    def of(self, kind: PauseKind, name: str, now: int) -> Pause | None:
        """Return the pause of a queue, task or schedule that holds."""
        return next((one for one in self.known if (one.kind, one.name) == (kind, name) and one.is_active(now)), None)

    def holding(self, job: Job, now: int) -> Pause | None:
        """Return the pause because of which a job is not started: its task's, else its queue's."""
        return self.of(PauseKind.TASK, job.task, now) or self.of(PauseKind.QUEUE, job.queue, now)

    def ended_at(self, kind: PauseKind, name: str, now: int) -> int:
        """Return when the last pause of a name ended; 0 if none is known."""
        ended = (one.until for one in self.known if (one.kind, one.name) == (kind, name) and not one.is_active(now))
        return next(ended, 0)

    def barred(self, now: int, *, queues: bool = True) -> dict[str, tuple[str, ...]]:
        """Return the values of a job's attributes with which it may not be claimed; empty while nothing is paused."""
        found: dict[str, tuple[str, ...]] = {}
        if not self.known:
            return found
        for kind in (PauseKind.QUEUE, PauseKind.TASK) if queues else (PauseKind.TASK,):
            if names := sorted(one.name for one in self.known if one.kind == kind and one.is_active(now)):
                found[str(kind)] = tuple(names)
        return found

    def encode(self) -> str:
        """Write as compact JSON."""
        return json.dumps([asdict(one) for one in self.known], ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str, version: int = 0) -> Self:
        """Read what `encode` wrote; what a later release added is ignored, and so is a pause that cannot be read."""
        known: list[Pause] = []
        try:
            for row in json.loads(text):
                try:
                    known.append(record(Pause, row))
                except (ValueError, TypeError, AttributeError, KeyError) as error:
                    log.error("pauses.unreadable", error=type(error).__name__)
        except (ValueError, TypeError) as error:
            log.error("pauses.unreadable", error=type(error).__name__)
        return cls(tuple(known), version)


def pauses_in(items: Iterable[Item]) -> Pauses:
    """Pick the pauses from records of the fleet table."""
    for item in items:
        if item[schema.FLEET_KEY]["S"] == RECORD:
            return Pauses.decode(str(item.get("pauses", {}).get("S", "[]")), number_in(item, "version"))
    return Pauses()


class KnownPauses(Records):
    """The pauses as a process that claims or submits ticks knows them.

    Makes at most one consistent read of one small record per heartbeat interval: one read unit per 4 KB. If it fails,
    the last answer stands; a program that has never had one claims as if nothing were paused.

    Parameters
    ----------
    fresh_ms : int
        How long an answer is trusted, in milliseconds.
    """

    def __init__(
        self,
        client: Callable[[], Any],
        table: str,
        *,
        clock: Clock,
        sleep: Callable[[float], None],
        fresh_ms: int = 0,
    ) -> None:
        super().__init__(client, table, clock=clock, sleep=sleep)
        self._fresh_ms = fresh_ms
        self._asked_at: int | None = None
        self._known: Pauses | None = None
        self._failing = False
        self.shared: Callable[[], Pauses | None] = lambda: None
        """Returns what a worker's main process has read for all of its processes; ``None`` outside of a worker."""

    @classmethod
    def of(cls, repo: HasTable) -> Self:
        """Use the fleet table that the repo's settings name, with the repo's own client."""
        fresh_ms = round(repo.settings.heartbeat_seconds * 1000 * FRESH_SHARE)
        table = repo.table
        return cls(table.client, repo.settings.fleet_table, clock=repo.clock, sleep=table.sleep, fresh_ms=fresh_ms)

    def read(self) -> Pauses:
        """Read the record. Raises `StoreUnavailable`."""
        request = {"TableName": self._table, "Key": PAUSES_KEY, "ConsistentRead": True}
        answer = self._ask(lambda: self._client().get_item(**request))
        return pauses_in([answer["Item"]] if "Item" in answer else [])

    def current(self, *, needed: bool = False) -> Pauses:
        """Return the pauses, read anew if the last answer is too old.

        Parameters
        ----------
        needed : bool
            Raise `StoreUnavailable` if there was never an answer.
        """
        if (shared := self.shared()) is not None:
            return shared
        now = self._clock()
        if self._asked_at is None or not 0 <= now - self._asked_at < self._fresh_ms:
            self._asked_at = now
            try:
                self._known, self._failing = self.read(), False
            except StoreUnavailable as error:
                if needed and self._known is None:
                    self._asked_at = None
                    raise
                if not self._failing:
                    log.warning("pauses.unavailable", reason=str(error))
                self._failing = True
        return self._known or Pauses()
