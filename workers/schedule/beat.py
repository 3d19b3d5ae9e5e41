"""Beat with one job per tick: any number of beats may run, and each tick runs once.

::

    schedule "report", every hour ──12:00──▶ job "report@2026-11-21T12:00:00Z"     beat one: written, message sent
                                    12:00──▶ the same id                          beat two: it exists already

A tick of a plain task, which does not make a job, is sent by the beat that first wrote a note of it
(`jobclaim.jobs.storage.tick_notes`).

The id is derived from the schedule's name and the time at which it was due, not from the time at which a beat noticed.
So that all beats use the same times, rhythms follow the calendar (`jobclaim.workers.schedule.rhythm`) and not the start
of a beat. A beat that starts submits what was due in the last minute: a restart does not lose ticks, and a deployment
does not start the night's work at noon. A tick that no worker starts before the next one is due is dropped, unless its
``expires`` sets another limit.

Due entries are determined in each loop, from the clock and the last run only: nothing is planned ahead, because a wrong
clock would plan it wrongly. A last run in the future is a sign of such a clock, and is reset.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from billiard.process import current_process
from celery.beat import BeatLazyFunc, Scheduler

from jobclaim.jobs import StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.pauses import PauseKind
from jobclaim.workers.handle import installed_on
from jobclaim.workers.schedule.entries import RECOVERY_TASK, orphaned
from jobclaim.workers.schedule.rhythm import CronTicks, Every, Fixed, aware, rhythm
from jobclaim.workers.schedule.sender import Sender, TickCall
from jobclaim.workers.submission import timing

__all__ = ["Every", "JobScheduler", "due_tick", "tick_id"]

log = get_logger("jobclaim.beat")

LOOK_BACK: Final = timedelta(seconds=60)
"""How long before a beat's start a tick may have been due to be submitted still."""
LONGEST_PAUSE: Final = 10.0
"""Seconds after which the clock is read again, however far the next tick is: the clock may have been set."""
RETRY_SECONDS: Final = 1.0
STEP_BACK: Final = timedelta(seconds=1)
"""A last run further ahead than this was recorded with a wrong clock."""
SLACK_SECONDS: Final = 120.0
"""Tolerance after which a schedule's ticks count as overdue."""


class JobScheduler(Scheduler):
    """Celery's scheduler without a file: its state comes from the clock and the job table.

    Attributes
    ----------
    clock : callable
        Returns the time as an aware datetime.
    monotonic : callable
        Returns seconds that setting the clock does not change.
    """

    max_interval = LONGEST_PAUSE
    clock: Callable[[], datetime] = staticmethod(lambda: datetime.now(UTC))
    monotonic: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._missed: list[tuple[Any, datetime, datetime | None]] = []
        self._submitted: dict[str, float] = {}
        self._sender = Sender(kwargs.get("app") or args[0])
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Read the schedules, jobclaim's and the host's."""
        super().setup_schedule()
        for entry in self.schedule.values():
            entry.last_run_at = self.clock() - LOOK_BACK
        self._report_orphaned()

    def _report_orphaned(self) -> None:
        """Log the schedules whose task does not exist here; they are still submitted, because a worker may know it."""
        handle = installed_on(self.app)
        known = handle.settings.tasks if handle else ()
        tasks = {name: str(entry.task) for name, entry in self.schedule.items()}
        for name, task in orphaned(tasks, self.app.tasks, known).items():
            log.error("schedule.unknown_task", schedule=name, task=task)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Submit all due entries, after those that could not be submitted before; return the seconds until the next
        loop.
        """
        _end_without_worker()
        now = self.clock()
        self._submit_missed(now)
        self._reset_future_runs(now)
        waits = [self._turn(entry, now) for entry in list(self.schedule.values())]
        return min([self.max_interval, *waits, *([RETRY_SECONDS] if self._missed else [])])

    def reserve(self, entry: Any) -> Any:
        """Record that an entry has run."""
        after = self.schedule[entry.name] = entry._next_instance(last_run_at=self.clock())
        return after

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Submit an entry's task for the tick that is due."""
        due, following = due_tick(entry.schedule, entry.last_run_at, self.clock(), self.app.timezone)
        if advance:
            entry = self.reserve(entry)
        return self._submit(entry, due, following)

    def overdue(self) -> list[str]:
        """Return the schedules without a tick for longer than their interval, independent of the clock."""
        now, elapsed = self.clock(), self.monotonic()
        return [
            entry.name
            for entry in self.schedule.values()
            if (gap := _gap(entry.schedule, now)) is not None
            and elapsed - self._submitted.setdefault(entry.name, elapsed) > gap + SLACK_SECONDS
        ]

    def _turn(self, entry: Any, now: datetime) -> float:
        """Submit an entry's task if it is due; return the seconds until it is due next."""
        known = entry.schedule = rhythm(entry.schedule, self.app.timezone)
        try:
            if isinstance(known, Fixed):
                due, following = known.previous(now), known.following(now)
                is_due = due is not None and aware(entry.last_run_at, UTC) < due
                wait = (following - now).total_seconds() if following else self.max_interval
            else:
                is_due, wait = self.is_due(entry)
        except Exception:  # noqa: BLE001 - a host's own schedule that fails must not stop the others
            is_due, wait = self._is_due_failed(entry)
        if is_due:
            self.reserve(entry)
            self.apply_entry(entry, producer=self.producer)
        return max(0.0, float(wait))

    def _reset_future_runs(self, now: datetime) -> None:
        """Reset last runs that were recorded with a wrong clock; ticks that did run are recognized by their ids."""
        ahead = [entry for entry in self.schedule.values() if aware(entry.last_run_at, UTC) > now + STEP_BACK]
        if not ahead:
            return
        seconds = max((aware(entry.last_run_at, UTC) - now).total_seconds() for entry in ahead)
        for entry in ahead:
            entry.last_run_at = now - LOOK_BACK
        log.warning("schedule.clock_reset", ahead_seconds=round(seconds, 3), count=len(ahead))

    def _submit_missed(self, now: datetime) -> None:
        missed, self._missed = self._missed, []
        for entry, due, until in missed:
            if until is not None and until <= now:
                log.error("tick.expired", schedule=entry.name, due=due.isoformat())
                continue
            try:
                self._submit(entry, due, until)
            except Exception:
                log.exception("tick.refused", schedule=entry.name, due=due.isoformat())

    def _submit(self, entry: Any, due: datetime, following: datetime | None) -> Any:
        """Submit a tick; one that could not be written or sent, or that another beat is sending, is tried again."""
        if self._is_paused(entry, due):
            return None
        until = _expires(entry.options.get("expires"), due, following, self.app.timezone)
        tick = tick_id(entry.name, due)
        call = TickCall(
            entry.task,
            evaluated(entry.args or ()),
            evaluated(entry.kwargs or {}),
            {**entry.options, "expires": until, "task_id": tick},
        )
        try:
            result, sent = self._sender.send(call)
        except StoreUnavailable as error:
            log.warning("tick.not_written", schedule=entry.name, due=due.isoformat(), reason=str(error))
            result, sent = None, False
        if sent:
            self._submitted[entry.name] = self.monotonic()
        else:
            self._missed.append((entry, due, until))
        return result

    def _is_paused(self, entry: Any, due: datetime) -> bool:
        """Return whether a pause of its schedule skips the tick; recovery's own schedule cannot be paused."""
        handle = installed_on(self.app)
        if handle is None or entry.task == RECOVERY_TASK:
            return False
        now = round(self.clock().timestamp() * 1000)
        pause = handle.repo.pauses.current().of(PauseKind.SCHEDULE, entry.name, now)
        if pause is None:
            return False
        self._submitted[entry.name] = self.monotonic()  # or the tick would be reported as overdue
        log.warning(
            "tick.skipped",
            schedule=entry.name,
            due=due.isoformat(),
            by=pause.by,
            reason=pause.reason,
            until=pause.until,
        )
        return True


def _end_without_worker() -> None:
    """End the beat of a worker (``-B``) whose main process was killed: it would go on forever, with old schedules."""
    parent = current_process()._parent_pid
    if parent is not None and os.getppid() != parent:
        log.error("beat.orphaned")
        raise SystemExit(0)


def due_tick(known: Any, last_run_at: datetime, now: datetime, zone: tzinfo = UTC) -> tuple[datetime, datetime | None]:
    """Return which tick of a schedule is due, and when the next one is, where that is known.

    Parameters
    ----------
    known : celery.schedules.BaseSchedule
    last_run_at : datetime
        When the schedule last ran; of several ticks since then the latest counts.
    zone : tzinfo
        Zone of Celery's crontabs.
    """
    known, last = rhythm(known, zone), aware(last_run_at, UTC)
    if not isinstance(known, Fixed):
        return _own_tick(known, last, now), None
    due = known.previous(now)
    if due is None or (isinstance(known, CronTicks) and due <= last):  # called slightly early: the next tick
        due = known.following(now) or now
    return due, known.following(due)


def tick_id(name: str, due: datetime) -> str:
    """Return the id of the job of one tick."""
    at = due.astimezone(UTC).isoformat(timespec="milliseconds" if due.microsecond else "seconds")
    return f"{name}@{at.replace('+00:00', 'Z')}"


def _own_tick(known: Any, last_run_at: datetime, now: datetime) -> datetime:
    """Return when a foreign schedule was due, to the second, so that all beats derive the same id for its tick."""
    try:
        remaining = known.remaining_estimate(last_run_at)
    except NotImplementedError:
        remaining = timedelta()
    due: datetime = now + min(remaining, timedelta())
    return (due + timedelta(milliseconds=500)).astimezone(UTC).replace(microsecond=0)


def _gap(known: Any, now: datetime) -> float | None:
    """Return the seconds between the ticks before and after now; ``None`` if they are not known."""
    if not isinstance(known, Fixed):
        return None
    previous, following = known.previous(now), known.following(now)
    return None if previous is None or following is None else (following - previous).total_seconds()


def _expires(option: Any, due: datetime, following: datetime | None, zone: tzinfo) -> datetime | None:
    """Return the time by which a tick must start. A number means so many seconds after it is due; by default, the next
    tick.

    A time may be ISO text; without a zone, it is in the app's. Raises `InvalidInput` for anything else.
    """
    if option is None:
        return following
    if isinstance(option, (int, float)):
        return due + timedelta(seconds=option)
    until = timing.start_by(option, 0, zone)
    return None if until is None else datetime.fromtimestamp(until / 1000, UTC)


def evaluated(values: Any) -> Any:
    """Evaluate Celery's lazy arguments (`BeatLazyFunc`)."""
    if isinstance(values, Mapping):
        return {name: value() if isinstance(value, BeatLazyFunc) else value for name, value in values.items()}
    return [value() if isinstance(value, BeatLazyFunc) else value for value in values]
