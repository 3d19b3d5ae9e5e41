"""Run a schedule now: a tick of its own, beside the regular ones.

Its id has the schedule's name and the time, as a regular tick's, and ends in ``-by-hand``, so it is none of those that
beats submit: they neither skip nor repeat one because of it. The call is that of a tick: task, arguments and options,
with an ``expires`` in seconds counted from now. The last run by hand of each schedule is stored in the fleet table,
where the dashboard finds it; the audit trail has all.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from celery import Celery

from jobclaim.fleet.acting import acting
from jobclaim.fleet.by_hand import RunByHand, RunsByHand
from jobclaim.jobs import InvalidInput, JobRepo, StoreUnavailable
from jobclaim.specs.refusals import did_you_mean
from jobclaim.workers.schedule.beat import JobScheduler, evaluated, tick_id
from jobclaim.workers.schedule.entries import RECOVERY_TASK
from jobclaim.workers.schedule.sender import Sender, TickCall
from jobclaim.workers.task import JobTask

SUFFIX: Final = "-by-hand"


def run_now(app: Celery, name: str, *, by: str, reason: str = "", repo: JobRepo | None = None) -> str:
    """Submit a tick of a schedule now, also of a paused one; return the id of its job, or of its message's task.

    Parameters
    ----------
    app : celery.Celery
        An app with jobclaim installed. A task that it does not know is sent as a message, from which its worker makes
        the job.
    repo : JobRepo, optional
        Repo whose clock, audit trail and fleet table are used; default: the app's.

    Raises
    ------
    InvalidInput
        There is no such schedule, or it is recovery's own.
    StoreUnavailable
        Nothing is known to have been submitted.
    """
    repo = repo or app.jobclaim.repo
    entry = _entry(app, name)
    now = datetime.fromtimestamp(repo.clock() / 1000, UTC)
    run = RunByHand(repo.clock(), by, tick_id(name, now) + SUFFIX)
    with acting(repo, "schedule run", what=f"{name} {run.job_id}", why=reason, by=by):
        _, sent = Sender(app).send(_call(entry, run.job_id, now))
        if not sent and not isinstance(app.tasks.get(entry.task), JobTask):  # a job is sent by recovery
            raise StoreUnavailable(f"SQS did not accept the message of schedule {name!r}; try again")
        with suppress(StoreUnavailable):  # the trail has it; an error here would have the person run it once more
            RunsByHand.of(repo).note(name, run)
    return run.job_id


def _entry(app: Celery, name: str) -> Any:
    known: Mapping[str, Any] = app.conf.beat_schedule
    if name not in known:
        near = did_you_mean(name, known)
        raise InvalidInput(
            f"there is no schedule {name!r}{near}; `jobclaim schedule list` shows them, and --app names a host's app"
        )
    entry = JobScheduler(app, lazy=True)._maybe_entry(name, known[name])
    if entry.task == RECOVERY_TASK:
        raise InvalidInput(f"schedule {name!r} is recovery's own; use `jobclaim recover` to run a pass now")
    return entry


def _call(entry: Any, run_id: str, now: datetime) -> TickCall:
    expires = entry.options.get("expires")
    until = now + timedelta(seconds=expires) if isinstance(expires, (int, float)) else None
    options = {**entry.options, "expires": until, "task_id": run_id}
    return TickCall(entry.task, evaluated(entry.args or ()), evaluated(entry.kwargs or {}), options)
