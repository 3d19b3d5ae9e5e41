"""Submit a task by its name, with the options that its author declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from jobclaim.jobs import InvalidInput, Job, JobRepo
from jobclaim.jobs.failures.dead import seal_policy
from jobclaim.specs.refusals import did_you_mean
from jobclaim.workers.submission.claiming import claims
from jobclaim.workers.submission.dispatch import publish_if_due, publish_if_unsent
from jobclaim.workers.submission.submitted import SubmittedTask
from jobclaim.workers.time_limits import adopt_plain

ALIKE: Final = 0.5
"""Similarity from which a name is suggested: low enough for `process` to find `documents.process`."""


def submit(
    app: Any,
    repo: JobRepo,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    *,
    queue: str | None = None,
    key: str | None = None,
    ttl_ms: int | None = None,
    at: int | None = None,
    tags: Sequence[str] = (),
    is_sure: Callable[[str], bool] | None = None,
    written: Callable[[Job], object] = lambda _: None,
) -> Job:
    """Write the job of a registered task and send its message; return a job that exists already without sending it.

    Parameters
    ----------
    ttl_ms : int, optional
        Window of the idempotency key after the job completed, in milliseconds.
    at : int, optional
        Earliest start, epoch milliseconds.
    tags : sequence of str
        Tags in addition to those of the task.
    is_sure : callable, optional
        Called to confirm a task that is not known to claim its job, with the call that would be made; by default such a
        task is refused.
    written : callable, optional
        Called with the job as soon as it is written, before its message is sent.

    Raises
    ------
    jobs.JobError, ValueError
        The task is not registered or does not claim, its arguments are invalid, or the job was refused. Nothing was
        written or sent.
    """
    task = find_task(app, name)
    queue = queue and repo.settings.queue(queue).name
    if not _is_job_task(task):
        _check_claims(task, is_sure)
        job = _write_plain(app, repo, task, args, kwargs, queue, key, ttl_ms, at, tags)
    else:
        check_arguments(task, args, kwargs)
        _check_window(task, key, ttl_ms)
        job = task.write_job(
            args,
            kwargs,
            queue=queue,
            eta=None if at is None else datetime.fromtimestamp(at / 1000, UTC),
            idempotency_key=key,
            idempotency_ttl=None if ttl_ms is None else ttl_ms / 1000,
            tags=tags,
        )
    written(job)
    if job.created:
        publish_if_due(app, job)
    else:
        publish_if_unsent(app, job)
    return job


def find_task(app: Any, name: str) -> Any:
    """Look a task up by name.

    Raises
    ------
    InvalidInput
        It is not registered; the message names the closest registered task and the modules that were searched.
    """
    if name in app.tasks:
        return app.tasks[name]
    modules = ", ".join(app.conf.imports) or "none"
    hint = did_you_mean(name, users_tasks(app), ALIKE) or "."
    raise InvalidInput(
        f"task {name!r} is not registered{hint} Imported task modules: {modules}; add yours to JOBCLAIM_TASK_MODULES"
    )


def users_tasks(app: Any) -> list[str]:
    """Return the names of the registered tasks that are not Celery's own."""
    return sorted(name for name in app.tasks if not name.startswith("celery."))


def check_arguments(task: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Refuse arguments that the task's signature does not accept, before anything is written.

    Raises
    ------
    InvalidInput
    """
    try:
        task.__header__(*args, **kwargs)
    except TypeError as error:
        raise InvalidInput(f"the arguments do not fit task {task.name!r}: {error}; correct the arguments") from None


def _check_claims(task: Any, is_sure: Callable[[str], bool] | None) -> None:
    """Refuse a task whose body would misread the job's id as another argument, and which recovery would run again.

    Raises
    ------
    InvalidInput
    """
    if claims(task):
        return
    called = f"{task.name}('<the job's id>')"
    if is_sure is not None and is_sure(called):
        return
    raise InvalidInput(
        f"task {task.name!r} is not a JobTask and does not claim its job: the worker would call {called}, whose code "
        "does not call claim_job(), claimed() or conditional_update_status_to_processing(). Give it base=JobTask, "
        "send it by Celery's own delay(), or, if it does claim, declare that with @shared_task(claims=True) or "
        "--plain"
    )


def _is_job_task(task: Any) -> bool:
    return isinstance(task, SubmittedTask)


def _check_window(task: Any, key: str | None, ttl_ms: int | None) -> None:
    if ttl_ms is not None and key is None and task.idempotency_rules() is None:
        raise InvalidInput(
            f"--ttl is the window of an idempotency key, but task {task.name!r} has none; pass --key too"
        )


def _write_plain(
    app: Any,
    repo: JobRepo,
    task: Any,
    args: list[Any],
    kwargs: dict[str, Any],
    queue: str | None,
    key: str | None,
    ttl_ms: int | None,
    at: int | None,
    tags: Sequence[str],
) -> Job:
    """Write the job of a task that claims in its own body: it receives the job's id and reads kwargs as payload."""
    if args:
        raise InvalidInput(
            f"task {task.name!r} claims its job itself and reads the payload as a map, so pass arguments with --kwargs"
        )
    adopt_plain(task, app.jobclaim)
    return repo.create_job(
        task.name,
        kwargs,
        queue=queue or getattr(task, "queue", None),
        idempotency_key=key,
        ttl=None if ttl_ms is None else ttl_ms / 1000,
        available_at=at,
        hard_limit=task.time_limit,
        on_orphan=getattr(task, "on_orphan", None),
        failure_policy=seal_policy(getattr(task, "dead_letters", None), critical=getattr(task, "critical", False)),
        tags=(*getattr(task, "tags", ()), *tags),
    )
