"""Pause queues, tasks and schedules, and end their pauses, for command line, dashboard and API.

All pauses are one record, so reading them takes one item. It is changed by conditional writes on its version:
two people who pause at the same moment do not overwrite each other. Only operators may write it (`template.yaml`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from jobclaim.fleet.acting import acting
from jobclaim.jobs import IllegalTransition, InvalidInput, JobRepo, StoreUnavailable, checks
from jobclaim.jobs.encoding.item import attribute
from jobclaim.jobs.storage.pauses import PAUSES_KEY, KnownPauses, Pause, PauseKind, Pauses
from jobclaim.settings import Settings
from jobclaim.specs.refusals import not_among
from jobclaim.specs.tasks import OWN_TASKS, RECOVERY_SCHEDULE

ROUNDS: Final = 10
"""Attempts to change the record while others change it."""
MOST: Final = 50
"""Most pauses at a time: each claim carries the paused names in its condition, and each heartbeat reads the record."""
KEPT_MS: Final = 7 * 86_400_000
"""How long an ended pause is kept, so that recovery finds the jobs that it held."""
LONGEST_REASON: Final = 200
MAX_AHEAD_MS: Final = 10 * 366 * 86_400_000


@dataclass(frozen=True, slots=True)
class Subject:
    """What is paused: a kind and a name."""

    kind: PauseKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class PauseRecords(KnownPauses):
    """Changes of the record of pauses; they raise `StoreUnavailable`."""

    def change(self, decide: Callable[[Pauses], Pause]) -> Pause:
        """Replace the entry of one name by what ``decide`` returns for the stored pauses; it may raise instead."""
        for _ in range(ROUNDS):
            stored = self.read()
            changed = decide(stored)
            others = [one for one in stored.known if one.subject != changed.subject]
            if self._put(Pauses((*_kept(others, self._clock()), changed), stored.version)):
                return changed
        raise StoreUnavailable(f"the pauses were changed {ROUNDS} times by others at the same moment; try again")

    def _put(self, pauses: Pauses) -> bool:
        values = {":pauses": attribute(pauses.encode()), ":next": attribute(pauses.version + 1)}
        condition = "attribute_not_exists(#version)"
        if pauses.version:
            condition, values = "#version = :seen", {**values, ":seen": attribute(pauses.version)}
        applied, stored = self._write(
            "update_item",
            Key=PAUSES_KEY,
            UpdateExpression="SET #pauses = :pauses, #version = :next",
            ConditionExpression=condition,
            ExpressionAttributeNames={"#pauses": "pauses", "#version": "version"},
            ExpressionAttributeValues=values,
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        # refused although the record is as written: an earlier try was applied and its answer lost
        return applied or stored.get("pauses") == values[":pauses"]


def pause(repo: JobRepo, subject: Subject, *, by: str, reason: str, until: int = 0) -> Pause:
    """Pause a queue, a task or a schedule, or change the reason and the end of a pause that holds.

    Parameters
    ----------
    until : int
        When it ends by itself, epoch milliseconds; 0 until a person ends it.

    Raises
    ------
    InvalidInput
        The name cannot be paused, the reason is missing, or the end has passed.
    IllegalTransition
        `MOST` pauses hold already.
    StoreUnavailable
    """
    check(repo.settings, subject)
    by = checks.text(by, "by", LONGEST_REASON)
    reason = checks.text(" ".join(reason.split()), "reason", LONGEST_REASON)
    now = repo.clock()
    if until and not now < until <= now + MAX_AHEAD_MS:
        raise InvalidInput(
            f"until={until!r} is in the past, or more than ten years ahead; choose a time within the next ten years"
        )

    def decide(known: Pauses) -> Pause:
        before = known.of(subject.kind, subject.name, now)
        if before is None and len(known.active(now)) >= MOST:
            raise IllegalTransition(f"{MOST} pauses hold already; end one first: `jobclaim pause list` shows them")
        since = before.since if before else now
        return Pause(kind=subject.kind, name=subject.name, by=by, reason=reason, since=since, until=until)

    with acting(repo, "pause", what=str(subject), why=reason, by=by):
        return PauseRecords.of(repo).change(decide)


def unpause(repo: JobRepo, subject: Subject, *, by: str, reason: str = "") -> Pause:
    """End a pause; return it as it ended.

    Raises
    ------
    IllegalTransition
        It is not paused.
    StoreUnavailable
    """
    now, by = repo.clock(), checks.text(by, "by", LONGEST_REASON)

    def decide(known: Pauses) -> Pause:
        before = known.of(subject.kind, subject.name, now)
        if before is None:
            raise IllegalTransition(f"{subject} is not paused; `jobclaim pause list` shows what is")
        return replace(before, until=now, ended_by=by)

    with acting(repo, "unpause", what=str(subject), why=reason, by=by):
        return PauseRecords.of(repo).change(decide)


def check(settings: Settings, subject: Subject) -> None:
    """Refuse a subject that recovery needs, and a queue that is not configured.

    Raises
    ------
    InvalidInput
    """
    checks.text(subject.name, f"name of the {subject.kind}")
    if subject.kind is PauseKind.QUEUE and subject.name not in settings.queue_names:
        raise InvalidInput(f"queue {subject.name!r} {not_among(subject.name, settings.queue_names)}")
    own = {PauseKind.QUEUE: settings.recovery_queue, PauseKind.SCHEDULE: RECOVERY_SCHEDULE}.get(subject.kind)
    if subject.name == own or (subject.kind is PauseKind.TASK and subject.name.startswith(OWN_TASKS)):
        raise InvalidInput(
            f"{subject} belongs to recovery, without which lost jobs stay lost; pause the queue or task that floods it"
        )


def _kept(known: list[Pause], now: int) -> list[Pause]:
    """Return the pauses that hold, and the last few that ended recently."""
    ended = [one for one in known if not one.is_active(now) and one.until >= now - KEPT_MS]
    last = sorted(ended, key=lambda one: one.until)[-MOST:]
    return [one for one in known if one.is_active(now)] + last
