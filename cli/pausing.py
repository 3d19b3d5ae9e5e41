"""What `jobclaim pause` and `jobclaim unpause` are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from jobclaim.cli.output import remark
from jobclaim.cli.session import Session

if TYPE_CHECKING:
    from jobclaim.fleet.pauses import Subject

KINDS: Final = ("queue", "task", "schedule")


def subject_of(kind: str, name: str) -> Subject:
    """Return what is to be paused."""
    from jobclaim.fleet.pauses import Subject
    from jobclaim.jobs.storage.pauses import PauseKind

    return Subject(PauseKind(kind), name)


def end_of(until: int | None, duration: int | None, now: int) -> int:
    """Return when a pause ends by itself, epoch milliseconds; 0 for an open end."""
    if until is not None and duration is not None:
        raise click.UsageError("--until and --for say the same; give one of them")
    return until or (now + duration if duration else 0)


def check_known(session: Session, subject: Subject) -> None:
    """Refuse a task that no live worker has, and a schedule that the app does not have, because a typo would pause
    nothing.

    Raises
    ------
    click.UsageError
    """
    known, where = _known_names(session, subject)
    if not known:
        remark(f"Whether {subject} exists is not known: {where} of this deployment name no {subject.kind}.")
        return
    if subject.name not in known:
        from jobclaim.specs.refusals import did_you_mean

        near = did_you_mean(subject.name, known)
        raise click.UsageError(
            f"{where} have no {subject.kind} {subject.name!r}{near}; correct the name, or pass --unknown"
        )


def _known_names(session: Session, subject: Subject) -> tuple[list[str], str]:
    if subject.kind == "schedule":
        return sorted(session.app_with_tasks.conf.beat_schedule), "the beat schedules (--app names the host's app)"
    if subject.kind == "queue":
        return list(session.settings.queue_names), "the settings"
    from jobclaim.fleet.registered import of_live_workers

    return of_live_workers(session.repo), "the live workers"
