"""Submissions by a user: a new job of a task, and an ended job's task with another payload."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from jobclaim.dashboard.acts import checks_reason
from jobclaim.dashboard.person import Person
from jobclaim.dashboard.services import Services
from jobclaim.fleet.acting import acted, acting
from jobclaim.jobs import InvalidInput, Job, checks
from jobclaim.jobs.encoding import codec
from jobclaim.recovery.dead import resolve_edited
from jobclaim.views.humane import duration

LONGEST: Final = 200_000
"""Characters of a payload that a form may hold."""


def submit(services: Services, fields: Mapping[str, str], person: Person) -> Job:
    """Submit a job as `jobclaim submit` does, with its checks.

    Parameters
    ----------
    fields : mapping of str to str
        ``task``, ``args``, ``kwargs``, ``queue``, ``delay``, ``key``; all but the first may be empty.

    Raises
    ------
    InvalidInput, InvalidPayload, JobError
        Nothing was written. `StoreUnavailable`: the job may have been written; submit it again with a key.
    """
    from jobclaim.workers.submission import by_name

    task = checks.text(fields.get("task", "").strip(), "task")
    args, kwargs = _json(fields, "args", list, "[]"), _json(fields, "kwargs", dict, "{}")
    app, repo = services.app_with_tasks, services.repo
    services.shared.forget()
    return by_name.submit(
        app,
        repo,
        task,
        args,
        kwargs,
        queue=fields.get("queue", "").strip() or None,
        key=fields.get("key", "").strip() or None,
        at=_start(fields.get("delay", ""), app.jobclaim.repo.clock()),
        written=lambda job: acted(repo, "submit", what=f"{task} {job.job_id}", by=person.name),
    )


def submit_edited(services: Services, fields: Mapping[str, str], person: Person) -> tuple[Job, str]:
    """Run an ended job's task with another payload, as a new job; return it, and the notice on its page.

    Parameters
    ----------
    fields : mapping of str to str
        ``id``, ``payload``, and maybe ``key``, ``reason`` and ``resolve``.

    Raises
    ------
    IllegalTransition, InvalidInput, InvalidPayload, JobNotFound, StoreUnavailable
        Except for the last one, nothing was written.
    """
    from jobclaim.workers.submission.editing import retry_edited

    job_id, reason = checks.text(fields.get("id", ""), "id"), checks_reason(fields.get("reason", ""))
    payload, key = _decoded("payload", fields.get("payload", "")), fields.get("key", "").strip() or None
    app, repo = services.app_with_tasks, services.repo
    services.shared.forget()
    action = "edit"
    with acting(repo, "retry", what=f"{job_id} with another payload", why=reason, by=person.name):
        resubmitted = retry_edited(app, repo, job_id, payload, key=key)
        if not resubmitted.job.created:
            return resubmitted.job, "existing"
        if not resubmitted.checked:
            action = "edit-unchecked"
        if fields.get("resolve") and resolve_edited(repo, job_id, resubmitted.job, by=person.name):
            action = "edit-unresolved"
    return resubmitted.job, action


def _start(delay: str, now: int) -> int | None:
    if not delay.strip():
        return None
    try:
        return now + duration(delay)
    except ValueError as error:
        raise InvalidInput(f"delay: {error}") from None


def _json(fields: Mapping[str, str], name: str, kind: type, empty: str) -> Any:
    value = _decoded(name, fields.get(name, "").strip() or empty)
    if not isinstance(value, kind):
        example = "an array such as [42]" if kind is list else 'an object such as {"currency": "EUR"}'
        raise InvalidInput(f"{name} is not the right kind of JSON; write {example}")
    return value


def _decoded(name: str, text: str) -> Any:
    if len(text) > LONGEST:
        raise InvalidInput(f"{name} has {len(text)} characters; at most {LONGEST} are allowed in a form")
    try:
        return codec.decode(text)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise InvalidInput(f"{name} is not JSON: {reason}") from None
