"""Beat, with every tick a job of its own: any number of beats may run, and each tick runs once.

::

    schedule "report", every hour ──12:00──▶ job "report@2026-11-21T12:00:00Z"     beat one: written, message sent
                                    12:00──▶ the same id                          beat two: it is there already

The id follows from the schedule's name and the time at which it was due, not from the time at which a beat noticed. So
that two beats speak of the same times, intervals are counted from the epoch and not from the start of a beat. A beat
that starts makes up for what was due in the last minute: a restart loses no tick, a deployment does not start the
night's work at noon. A tick that no worker starts before the next one is due is dropped, unless its ``expires`` says
otherwise.

Only jobs are told apart so. A plain task that two beats submit runs twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

import structlog
from celery.beat import BeatLazyFunc, Scheduler
from celery.schedules import crontab, schedstate, schedule

from jobclaim.jobs import StoreUnavailable
from jobclaim.workers.submission import timing

log = structlog.get_logger("jobclaim.beat")

LOOK_BACK: Final = timedelta(seconds=60)
"""What was due that long before a beat started is still submitted."""
LONGEST_SEARCH: Final = timedelta(days=1)
RETRY_SECONDS: Final = 1.0


class Every(schedule):
    """An interval counted from the epoch, so that all beats mean the same moments."""

    def is_due(self, last_run_at: datetime) -> Any:
        """Tell whether a boundary lies between the last run and now, and the seconds until the next one."""
        now = self.maybe_make_aware(self.now())
        boundary = self.boundary(now)
        wait = (boundary + self.run_every - now).total_seconds()
        return schedstate(is_due=self.maybe_make_aware(last_run_at) < boundary, next=wait)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Time until the first boundary after the last run."""
        now = self.maybe_make_aware(self.now())
        return self.boundary(self.maybe_make_aware(last_run_at)) + self.run_every - now  # type: ignore[no-any-return]

    def boundary(self, at: datetime) -> datetime:
        """The last moment up to ``at`` that is a multiple of the interval."""
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return epoch + ((at - epoch) // self.run_every) * self.run_every  # type: ignore[no-any-return]


class JobScheduler(Scheduler):
    """Celery's scheduler without a file: what a beat must know it knows from the clock and the job table."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._missed: list[tuple[Any, datetime, datetime | None]] = []
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Read the schedules; whole intervals are counted from the epoch."""
        super().setup_schedule()
        for entry in self.schedule.values():
            if type(entry.schedule) is schedule:
                entry.schedule = Every(entry.schedule.run_every, app=self.app)
            entry.last_run_at = entry.default_now() - LOOK_BACK

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Submit what is due, after what could not be submitted before."""
        missed, self._missed = self._missed, []
        for entry, due, following in missed:
            if following is None or following > datetime.now(UTC):
                self._submit(entry, due, following)
            else:
                log.error("tick lost: its expiry is over", schedule=entry.name, due=due.isoformat())
        wait = float(super().tick(*args, **kwargs))
        return min(wait, RETRY_SECONDS) if self._missed else wait

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Submit an entry's task for the tick that is due."""
        due, following = due_tick(entry.schedule, entry.last_run_at, datetime.now(UTC))
        if advance:
            entry = self.reserve(entry)
        return self._submit(entry, due, following)

    def _submit(self, entry: Any, due: datetime, following: datetime | None) -> Any:
        options = dict(entry.options)
        options["expires"] = until = _expires(options.get("expires"), due, following, self.app.timezone)
        options["task_id"] = tick_id(entry.name, due)
        task = self.app.tasks.get(entry.task)
        args, kwargs = _evaluated(entry.args or ()), _evaluated(entry.kwargs or {})
        try:
            if task is not None:
                return task.apply_async(args, kwargs, **options)
            return self.app.send_task(entry.task, args, kwargs, **options)
        except StoreUnavailable as error:
            self._missed.append((entry, due, until))
            log.warning("tick not written, tried again", schedule=entry.name, due=due.isoformat(), reason=str(error))
            return None


def due_tick(known: Any, last_run_at: datetime, now: datetime) -> tuple[datetime, datetime | None]:
    """Tell which tick of a schedule is due, and when the next one is, where that is known.

    Parameters
    ----------
    known : celery.schedules.BaseSchedule
    last_run_at : datetime
        When the schedule last ran; of several ticks since then the latest counts.
    """
    if isinstance(known, Every):
        boundary = known.boundary(now)
        return boundary, boundary + known.run_every
    if not isinstance(known, crontab):
        return now.replace(second=0, microsecond=0), None
    due, following = None, _next(known, max(_aware(last_run_at), now - LONGEST_SEARCH))
    while following <= now:
        due, following = following, _next(known, following)
    return (due, following) if due is not None else (following, _next(known, following))


def tick_id(name: str, due: datetime) -> str:
    """Id of the job of one tick."""
    at = due.astimezone(UTC).isoformat(timespec="milliseconds" if due.microsecond else "seconds")
    return f"{name}@{at.replace('+00:00', 'Z')}"


def _expires(wanted: Any, due: datetime, following: datetime | None, zone: tzinfo) -> datetime | None:
    """Until when a tick may start: so many seconds after it was due, or the moment that is given, or the next tick.

    A moment may be ISO text, and without a zone it is one of the app's. Raises `InvalidInput` for anything else.
    """
    if wanted is None:
        return following
    if isinstance(wanted, (int, float)):
        return due + timedelta(seconds=wanted)
    until = timing.start_by(wanted, 0, zone)
    return None if until is None else datetime.fromtimestamp(until / 1000, UTC)


def _next(known: Any, after: datetime) -> datetime:
    last, delta, _ = known.remaining_delta(after)
    return _aware(last + delta)


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _evaluated(values: Any) -> Any:
    """Celery's lazy arguments (`BeatLazyFunc`), called."""
    if isinstance(values, Mapping):
        return {name: value() if isinstance(value, BeatLazyFunc) else value for name, value in values.items()}
    return [value() if isinstance(value, BeatLazyFunc) else value for value in values]
