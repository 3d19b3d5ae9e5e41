"""``jobclaim.transaction()``: write a caller's items and the jobs that belong to them together, or not at all.

The messages follow the commit. A process that dies in between has committed: recovery finds such a job within seconds
(`jobclaim.jobs.model.Job.unsent`), because its position in the index says that its message may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from celery import Celery, current_app, uuid

from jobclaim.jobs import InvalidInput, Job
from jobclaim.jobs.log import get_logger, speaking_for
from jobclaim.jobs.repo.joining import joining
from jobclaim.jobs.repo.transaction import Transaction
from jobclaim.workers.handle import Handle, handle_of
from jobclaim.workers.messages import envelope
from jobclaim.workers.submission.dispatch import publish_if_due
from jobclaim.workers.task import JobTask

log = get_logger("jobclaim.dispatch")


class SubmittingTransaction(Transaction):
    """A transaction that submits tasks, and sends their messages after the commit.

    Parameters
    ----------
    app : celery.Celery, optional
        Default: the app of the first submitted task, else the current one.
    """

    def __init__(self, app: Celery | None = None) -> None:
        self._app = app
        super().__init__(handle_of(app).repo if app is not None else None)

    def submit(self, task: Any, *args: Any, **kwargs: Any) -> Any:
        """Submit a task with these arguments, as its ``delay`` does; return its result handle.

        The handle's job exists when the block has ended.

        Raises as `JobTask.apply_async`, except that an equal job is refused at the end of the block, with
        `AlreadySubmitted`.
        """
        return self.apply_async(task, args, kwargs)

    def apply_async(
        self, task: Any, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Submit a task as its own ``apply_async`` does, with the same options; else as `submit`."""
        if not isinstance(task, JobTask):
            raise InvalidInput(
                f"tx.submit takes tasks whose base is JobTask, not {task!r:.100}; give the task base=JobTask, or plan "
                "its job with tx.create_job and send its message yourself"
            )
        if task.app.conf.task_always_eager:
            return self._run_later(task, args, kwargs, options)
        handle: Handle = task.jobclaim
        with speaking_for(handle), joining(self):
            job = task.write_job(args, kwargs, **options)
        self.afterwards(partial(self._send, task.app, job, envelope.of_one_send(options)))
        return task.AsyncResult(job.job_id)

    def _run_later(self, task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Run the task after the commit, in the caller's process; used in eager mode."""
        handle = task.AsyncResult(options.get("task_id") or uuid())
        self.afterwards(partial(task.apply_async, args, kwargs, **{**options, "task_id": handle.id}))
        return handle

    def _send(self, app: Any, job: Job, options: Mapping[str, Any]) -> None:
        publish_if_due(app, self.written[job.job_id], **options)

    def _known_repo(self) -> Any:
        if self._repo is None:
            self._repo = handle_of(current_app._get_current_object()).repo
        return self._repo


def transaction(app: Celery | None = None) -> SubmittingTransaction:
    """Begin a transaction: writes to your tables and new jobs, committed together when its block ends, or not at all.

    ::

        with jobclaim.transaction() as tx:
            tx.put(TableName="orders", Item={"order_id": "7"}, ConditionExpression="attribute_not_exists(order_id)")
            handle = tx.submit(process_order, "7")

    After an exception in the block nothing is written. ``async with`` makes the requests in a thread. It needs no
    worker, and costs two write units where a single write costs one (docs/durable.md).

    Parameters
    ----------
    app : celery.Celery, optional
        The app that jobclaim is installed on; default that of the first task, else the current app.

    Raises, as the block ends
    -------------------------
    EffectRefused
        A condition of your writes did not hold.
    AlreadySubmitted
        An equal job, by id or idempotency key, exists already, with the writes that were made with it.
    InvalidEffect, StoreUnavailable
    """
    return SubmittingTransaction(app)
