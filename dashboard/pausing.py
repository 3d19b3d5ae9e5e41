"""Actions on queues, tasks and schedules: pause, unpause, run a schedule now."""

from __future__ import annotations

from typing import Final

from jobclaim.dashboard.acts import Done, checks_reason
from jobclaim.dashboard.person import Person
from jobclaim.dashboard.services import Services
from jobclaim.fleet import pauses
from jobclaim.jobs import InvalidInput
from jobclaim.jobs.storage.pauses import PauseKind
from jobclaim.views.humane import duration
from jobclaim.views.pauses import pause_in_words

KINDS: Final = tuple(str(kind) for kind in PauseKind)


def pause(services: Services, kind: str, name: str, person: Person, reason: str, lasts: str = "") -> Done:
    """Pause a queue, a task or a schedule; ``lasts`` is a duration such as ``2h``, empty for no end.

    Raises
    ------
    InvalidInput
        The kind, the name, the reason or the duration is refused.
    IllegalTransition, StoreUnavailable
    """
    subject, now = _subject(kind, name), services.clock()
    try:
        until = now + duration(lasts) if lasts else 0
    except ValueError as error:
        raise InvalidInput(f"lasts: {error}") from None
    record = pauses.pause(services.repo, subject, by=person.name, reason=checks_reason(reason), until=until)
    services.shared.forget()
    return Done("requested", f"{pause_in_words(record, now)}. The fleet honors it within a heartbeat.")


def unpause(services: Services, kind: str, name: str, person: Person, reason: str = "") -> Done:
    """End a pause. Raises `IllegalTransition` if it is not paused, as well as `InvalidInput` and `StoreUnavailable`."""
    ended = pauses.unpause(services.repo, _subject(kind, name), by=person.name, reason=checks_reason(reason))
    services.shared.forget()
    return Done("requested", f"{ended.subject} is no longer paused; the fleet resumes within a heartbeat.")


def run_schedule(services: Services, name: str, person: Person, reason: str = "") -> tuple[str, Done]:
    """Run a schedule of the settings now; return the id of its job. Raises `InvalidInput` and `StoreUnavailable`."""
    from jobclaim.workers.schedule.by_hand import run_now

    reason = checks_reason(reason)
    job_id = run_now(services.app_with_tasks, name, by=person.name, reason=reason, repo=services.repo)
    services.shared.forget()
    return job_id, Done("requested", f"{name} runs as job {job_id}.")


def _subject(kind: str, name: str) -> pauses.Subject:
    if kind not in KINDS:
        raise InvalidInput(f"kind={kind!r} cannot be paused; use one of {', '.join(KINDS)}")
    return pauses.Subject(PauseKind(kind), name)
