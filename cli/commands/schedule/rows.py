"""What `jobclaim schedule` shows of an entry: its times, its last tick, and the columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobclaim.cli.output import Column
from jobclaim.cli.session import Session

if TYPE_CHECKING:
    from jobclaim.governance.schedule_rules import World
    from jobclaim.governance.schedules import Entry


def record(entry: Entry, world: World, count: int) -> dict[str, Any]:
    """Return the JSON record of an entry, with its next ticks."""
    from jobclaim.governance.schedules import next_fires

    coming = next_fires(entry, datetime.now(world.zone), count)
    return {
        "name": entry.name,
        "task": entry.task,
        "when": times(entry),
        "queue": entry.queue or world.queue_of.get(entry.task) or world.default_queue,
        "expires_seconds": entry.expires,
        "next": [_utc(at) for at in coming],
        "place": f"{entry.file}:{entry.line}" if entry.file else "",
    }


def times(entry: Entry) -> str:
    """Describe when an entry fires, in the notation of crontab(5)."""
    from jobclaim.specs.cron import Cron

    if not isinstance(entry.when, Cron):
        return f"every {entry.when:g} s" if entry.when else "not understood"
    cron = entry.when
    sets = (
        (cron.minutes, range(60)),
        (cron.hours, range(24)),
        (cron.days, range(1, 32)),
        (cron.months, range(1, 13)),
        (cron.weekdays, range(7)),
    )
    fields = ("*" if len(values) == len(full) else ",".join(map(str, sorted(values))) for values, full in sets)
    return " ".join([*fields, *([f"({entry.zone})"] if entry.zone and str(entry.zone) != "UTC" else [])])


def last_ticks(session: Session, entries: list[Entry]) -> dict[str, dict[str, Any]]:
    """Return the last tick of each entry that had one, with the status of its job."""
    from jobclaim.governance.schedules import last_fires
    from jobclaim.jobs.protocol.lifecycle import is_gone
    from jobclaim.workers.schedule.beat import tick_id

    now = session.now()
    moment = datetime.fromtimestamp(now / 1000, UTC)
    due = {entry.name: at for entry in entries for at in last_fires(entry, moment, 1)}
    jobs = session.repo.table.get_many([tick_id(name, at) for name, at in due.items()])
    ticks = {}
    for name, at in due.items():
        job = jobs.get(job_id := tick_id(name, at))
        known = job is not None and not is_gone(job, now)
        ticks[name] = {"at": _utc(at), "job_id": job_id, "status": str(job.status) if job and known else None}
    return ticks


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _last_in_words(row: Mapping[str, Any]) -> str:
    last = row["last"]
    return f"{last['at']} {last['status'] or 'no job'}" if last else "-"


LIST = [
    Column("name", lambda row: str(row["name"]) + (" (paused)" if row["paused"] else "")),
    Column("task", lambda row: str(row["task"])),
    Column("when", lambda row: str(row["when"])),
    Column("queue", lambda row: str(row["queue"]), fold=False, rank=2),
    Column(
        "expires", lambda row: f"{row['expires_seconds']:g} s" if row["expires_seconds"] else "-", fold=False, rank=3
    ),
    Column("last tick", _last_in_words, rank=1),
    Column("next", lambda row: (row["next"] or ["never"])[0], fold=False),
]
NEXT = [
    Column("at", lambda row: str(row["at"]), fold=False),
    Column("name", lambda row: str(row["name"])),
    Column("task", lambda row: str(row["task"])),
]
