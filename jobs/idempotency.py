"""Idempotency keys: how equal calls get equal keys, and a service for code outside tasks.

Two calls are equal if their task, scope and identifying values have the same canonical JSON:

- Maps are equal regardless of the order of their keys; lists and tuples are the same thing, and their order counts.
- Numbers are equal if their values are: ``1``, ``1.0`` and ``10e-1`` are one number, ``-0.0`` is ``0``. JSON has one
kind of number, and passing a call through another language must not change it. ``True`` is not a number.
- Text is compared by code points, without normalization: two spellings of "é" are two file names, two keys in S3, two
passwords. Callers who want them to be equal must normalize them first.
- ``None`` is a value; a map with a key whose value is ``None`` differs from one without the key.
- Dates, times, decimals, UUIDs and bytes are compared as they are stored: ``Decimal("1.0")`` is not ``1``, and one
  moment in two time zones is two values. NaN equals NaN. Keys are compared as text: ``{1: "a"}`` equals ``{"1": "a"}``.
- What a payload cannot carry (sets, objects, lone surrogates) is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from jobclaim.jobs import checks
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.canonical import canonical
from jobclaim.jobs.encoding.marks import refuse_mark
from jobclaim.jobs.errors import IllegalTransition, InvalidInput, StoreUnavailable
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.protocol.submission import Submission, id_for_key, new_job
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.transitions import Move

GLOBAL: Final = "global"
RESULTS: Final = "jobclaim.results"
"""Task name for results that were not made by a task."""
WINDOWS: Final[Mapping[str, int]] = {
    "critical": 4 * 3600,
    "high_priority": 2 * 3600,
    "email": 2 * 3600,
    "reports": 24 * 3600,
    "mutations": 6 * 3600,
    "maintenance": 12 * 3600,
}
"""Seconds for which a completed job answers equal submissions, by category of work."""
ROUNDS: Final = 5
"""How often a write is retried on a job that keeps changing."""


def derive_key(task: str, values: Any, *, scope: str = GLOBAL, owner: Any = None) -> str:
    """Derive the idempotency key of a call: SHA-256 over task, scope, the scope's owner and the identifying values.

    Parameters
    ----------
    values
        Identifies the call, any JSON value: for a task, its bound arguments by name.
    scope, owner
        Where equal calls are the same: for instance ``"user"`` and the user's id.
    """
    return hashlib.sha256(canonical([1, task, scope, owner, values]).encode()).hexdigest()


def window_seconds(ttl: float | str | None) -> float | None:
    """Return a window in seconds, given seconds or a category in `WINDOWS`; ``None`` is returned unchanged.

    Raises
    ------
    InvalidInput
        An unknown category.
    """
    if not isinstance(ttl, str):
        return ttl
    if ttl not in WINDOWS:
        raise InvalidInput(
            f"idempotency window {ttl!r} is not one of the categories {sorted(WINDOWS)}; use one of these, or give "
            "seconds"
        )
    return WINDOWS[ttl]


class IdempotencyService:
    """Idempotency for code outside tasks, and inspection of tasks' keys. All data is in the job table.

    Parameters
    ----------
    repo : JobRepo
    namespace : str
        Separates the keys of `check_duplicate` and `store_result` from those of other services on the same table.
    """

    def __init__(self, repo: JobRepo, *, namespace: str = RESULTS) -> None:
        self._repo = repo
        self._namespace = checks.text(namespace, "namespace")

    def check_duplicate(self, key: str) -> Job | None:
        """Return the job that holds the result for this key; ``None`` if there is none or its window has expired.

        One request. The result is ``job.result``, which may itself be ``None``; therefore the job is returned.
        """
        job = self._find(self._namespace, key)
        return job if job is not None and lifecycle.answers_duplicate(job, self._repo.clock()) else None

    def store_result(self, key: str, result: Any, *, ttl_seconds: float | None = None) -> Job:
        """Store the result of work done under a key. The first result stands until its window expires.

        Parameters
        ----------
        result
            Plain JSON values.
        ttl_seconds : float, optional
            Default: `Settings.idempotency_ttl_seconds`.

        Returns
        -------
        Job
            ``job.created`` is ``False`` if a result existed already: continue with that one.

        Raises
        ------
        InvalidInput, InvalidPayload, PayloadTooLarge, StoreUnavailable
        """
        return store_result(self._repo, self._namespace, key, result, ttl_seconds=ttl_seconds)

    def check_idempotency_key(self, task: Any, scope: Any) -> Job | None:
        """Return the job under a task's key in any state; ``None`` if there is none.

        Parameters
        ----------
        task : str or task
            The task, or its name.
        scope : str or mapping
            The identifying arguments of a call by name; the task's scope, defaults and types apply, as when it was
            submitted. Or the key as text (`Job.idempotency_key`). ``"global"`` is the call without arguments.

        Raises
        ------
        InvalidInput
            The key cannot be determined: an identifying argument or the scope's owner is missing, or the task is not
            known in this program and there is no job under the values as they are.
        """
        return self._named(task, scope)[2]

    def _named(self, task: Any, scope: Any) -> tuple[str, str, Job | None]:
        """Return the task's name, the resolved key, and its job."""
        known = task if hasattr(task, "idempotency_rules") else _registered(getattr(task, "name", task))
        name: str = getattr(task, "name", task)
        if not isinstance(scope, Mapping):
            job = self._find(name, checks.text(scope, "scope", checks.MAX_KEY))
            if job is not None or not _is_undecided(known, scope):
                return name, scope, job
            scope = {}
        if known is not None and known.idempotency_rules() is not None:
            key = _key_of(known, scope)
            return name, key, self._find(name, key)
        key = derive_key(name, dict(scope))
        job = self._find(name, key)
        if job is None:
            raise InvalidInput(
                f"the key of task {name!r} cannot be computed: the task is not registered in this program, or is not "
                "idempotent; pass the task itself, or the whole key as `jobclaim show JOB` prints it"
            )
        return name, key, job

    def clear_idempotency_key(self, task: Any, scope: Any) -> bool:
        """Let the next equal submission run: a completed job is no longer returned, a waiting one is cancelled.

        A crashed job never holds its key forever, so this is only needed for results that turned out to be wrong.

        Returns
        -------
        bool
            ``False`` if there was nothing to clear: no job, or one that is FAILED or CANCELLED.

        Raises
        ------
        IllegalTransition
            The job is running: cancel it, or wait for its end.
        """
        name, key, _ = self._named(task, scope)
        for _ in range(ROUNDS):
            job = self._find(name, key)
            if job is None or not lifecycle.answers_duplicate(job, self._repo.clock()):
                return False
            if job.status is JobStatus.PROCESSING:
                raise IllegalTransition(
                    f"job {job.job_id!r} still holds key {key!r}, because it is running; cancel it, or clear the key "
                    "when it has ended"
                )
            if job.status is JobStatus.PENDING:
                self._repo.cancel_job(job.job_id, reason="its idempotency key was cleared")
                return True
            if self._repo.table.apply(job, Move.FORGET, lifecycle.forgotten(job)).applied:
                return True
        raise StoreUnavailable(f"key {key!r} of task {name!r} changed {ROUNDS} times while it was cleared; try again")

    def _find(self, task: str, key: str) -> Job | None:
        checks.text(key, "idempotency key", checks.MAX_KEY)
        job = self._repo.table.get(id_for_key(checks.text(task, "task"), key))
        return None if job is None or lifecycle.is_gone(job, self._repo.clock()) else self._repo.large.readable(job)


def store_result(
    repo: JobRepo, task: str, key: str, result: Any, *, ttl_seconds: float | None = None, job_id: str | None = None
) -> Job:
    """Store a result under a task's key as `IdempotencyService.store_result` does: one write, no claim, no message.

    Parameters
    ----------
    job_id : str, optional
        The job's id, if it is known but the key that it was derived from is not.
    """
    refuse_mark(result, "result")
    codec.encode(result, what="result", limit=repo.settings.max_result_bytes)
    key = checks.text(key, "idempotency key", checks.MAX_KEY)
    submission = Submission(task=task, queue=repo.settings.default_queue, idempotency_key=key, ttl=ttl_seconds)
    job = new_job(submission, repo.settings, repo.clock, any_queue=True)
    if job_id is not None:
        job = replace(job, job_id=checks.text(job_id, "job_id"), idempotency_key="", fingerprint="")
    completed = lifecycle.completed(job, result, repo.clock(), repo.retention)
    existing, after = None, completed
    for _ in range(ROUNDS):
        written = repo.table.apply(existing, Move.RECORD, after)
        if written.applied:
            return after
        existing = written.job
        if existing and _answers(existing, repo.clock()):
            return lifecycle.as_duplicate(existing)
        after = lifecycle.resubmitted(existing, completed) if existing else completed
    raise StoreUnavailable(
        f"key {key!r} of task {task!r} changed {ROUNDS} times while its result was stored; try again"
    )


def _answers(job: Job, now: int) -> bool:
    return not lifecycle.is_gone(job, now) and lifecycle.answers_duplicate(job, now)


class KnowsTasks(Protocol):
    """What this layer needs from the layer of tasks, which it does not import."""

    def registered(self, name: str) -> Any:
        """Return the task of that name; ``None`` if it is not known in this program."""

    def key_of(self, task: Any, values: Mapping[str, Any]) -> str:
        """Return the key of a task's call."""


_tasks: list[KnowsTasks] = []


def learn_tasks(known: KnowsTasks) -> None:
    """Use the rules of tasks to derive keys; called when jobclaim is installed on an app."""
    _tasks[:] = [known]


def _registered(name: str) -> Any:
    return _tasks[0].registered(name) if _tasks else None


def _key_of(task: Any, values: Mapping[str, Any]) -> str:
    return _tasks[0].key_of(task, values)


def _is_undecided(task: Any, text: str) -> bool:
    """Check whether a text for which no job was found may be only a part of a key."""
    if text == GLOBAL:
        return True
    rules = task.idempotency_rules() if task is not None else None
    if rules is None or rules.scope == GLOBAL:
        return False
    if "=" in text and "/" in text:
        return False  # the form in which `jobclaim show` prints the key of a scope
    raise InvalidInput(
        f"the key of task {task.name!r} cannot be computed: the task is idempotent within a scope, and {text!r} does "
        "not name its owner; give the identifying arguments by name, or the whole key as `jobclaim show JOB` prints "
        "it"
    )
