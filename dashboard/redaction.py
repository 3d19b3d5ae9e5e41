"""Redaction of a job's values on pages and in the JSON API: only names that settings allow are shown.

Every job passes through `shown` before it is used, so that no template and no record can skip the redaction. Messages
of exceptions quote the values that they refuse, possibly a password: they and tracebacks count as results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from jobclaim.jobs import Attempt, Failure, FailureKind, Job
from jobclaim.jobs.effects.evidence import without_keys
from jobclaim.jobs.encoding.marks import is_mark
from jobclaim.jobs.kept import Progress, Release
from jobclaim.jobs.protocol.releases import Held
from jobclaim.jobs.redaction import HIDDEN
from jobclaim.settings import Settings

OURS: Final = frozenset({FailureKind.ORPHANED, FailureKind.CANCELLED})
"""Kinds of failures whose messages, if there is no exception, come from the framework or an operator."""
USERS: Final = frozenset({Held.SNOOZE, Held.REQUEUE, Held.CALLER})
"""Releases whose reasons come from users' code; any other comes from the framework."""
HOW_ARGUMENTS: Final = "Arguments are hidden; list those to show in JOBCLAIM_DASHBOARD_ARGUMENTS (* shows all)."
HOW_RESULTS: Final = (
    "Results, messages, tracebacks and keys of effects are hidden; JOBCLAIM_DASHBOARD_RESULTS=true shows them."
)


def shown(job: Job, settings: Settings) -> Job:
    """Return a job with all values masked that settings do not allow to be shown."""
    results = settings.dashboard_results
    return replace(
        job,
        payload=_arguments(job.payload, settings.dashboard_arguments),
        result=job.result if results or job.result is None or is_mark(job.result) else HIDDEN,
        failure=_failure(job.failure, results),
        history=tuple(_attempt(attempt, results) for attempt in job.history),
        released=_released(job.released, results),
        progress=_progress(job.progress, results),
        effects=job.effects if results else without_keys(job.effects, HIDDEN),
        checkpoint=job.checkpoint if results or job.checkpoint is None else HIDDEN,
    )


def hints(settings: Settings) -> list[str]:
    """Describe what is hidden, and which setting shows it."""
    hidden = [] if "*" in settings.dashboard_arguments else [HOW_ARGUMENTS]
    return hidden if settings.dashboard_results else [*hidden, HOW_RESULTS]


def _arguments(payload: Any, allowed: Iterable[str]) -> Any:
    """Mask a call's arguments: positional ones have no names, so only ``*`` shows them."""
    names = frozenset(allowed)
    if payload is None or "*" in names or is_mark(payload):
        return payload
    if not isinstance(payload, Mapping):
        return HIDDEN
    args, kwargs = payload.get("args"), payload.get("kwargs")
    if payload.keys() <= {"args", "kwargs"} and isinstance(args, list) and isinstance(kwargs, Mapping):
        return {"args": [HIDDEN] * len(args), "kwargs": _named(kwargs, names)}
    return _named(payload, names)


def _named(values: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value if name in names else HIDDEN for name, value in values.items()}


def _failure(failure: Failure | None, results: bool) -> Failure | None:
    if failure is None or results or (failure.kind in OURS and not failure.exception):
        return failure
    return replace(
        failure,
        message=HIDDEN if failure.message else "",
        traceback=HIDDEN if failure.traceback else "",
    )


def _progress(progress: Progress | None, results: bool) -> Progress | None:
    if progress is None or results:
        return progress
    return replace(progress, message=HIDDEN if progress.message else "", meta=None)


def _attempt(attempt: Attempt, results: bool) -> Attempt:
    known = results or not attempt.reason or attempt.held not in USERS
    return replace(attempt, failure=_failure(attempt.failure, results), reason=attempt.reason if known else HIDDEN)


def _released(release: Release | None, results: bool) -> Release | None:
    if release is None or results or not release.reason or release.held not in USERS:
        return release
    return replace(release, reason=HIDDEN)
