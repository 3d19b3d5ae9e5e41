"""``self.effects``: writes of a body that are made together with its job's completion, or not at all.

::

    before_start ──▶ this attempt's Effects ──▶ body collects ──▶ it returns ──▶ one transaction: COMPLETED and writes
                                                   │                               ├ its claim ended ────▶ dropped
                                                   └ raises, retries, snoozes      └ refused ──▶ EffectRefused, as if
                                                     ──▶ dropped                     the body had raised it

They belong to the context of the attempt, not to the task, which threads share: a thread that the body starts collects
too if it runs in a copy of the context (``contextvars.copy_context().run``). The job's callbacks and the rest of its
chain are sent by a small job that is written in the same transaction, so a crash cannot lose them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from celery import Task
from celery.app.autoretry import add_autoretry_behaviour
from celery.exceptions import Ignore
from kombu.exceptions import EncodeError

from jobclaim.jobs import Effects, InvalidEffect, InvalidPayload, Job
from jobclaim.jobs.repo.joining import joining
from jobclaim.jobs.repo.transaction import Transaction
from jobclaim.workers.attempt.outcome import record_success
from jobclaim.workers.messages import links
from jobclaim.workers.submission.dispatch import publish_if_due

NO_ATTEMPT: Final = (
    "self.effects of task {task!r}: there is no attempt here, so the writes cannot be made with its completion. "
    "Submit the task or run it by apply() instead of calling it; in a thread of the body, run in a copy of its "
    "context; outside tasks, use jobclaim.transaction()"
)

_current: ContextVar[Effects | None] = ContextVar("effects", default=None)


@contextmanager
def collecting(effects: Effects) -> Iterator[Effects]:
    """Collect the effects of the code in this block."""
    token = _current.set(effects)
    try:
        yield effects
    finally:
        _current.reset(token)


class EffectfulTask(Task):
    """A task whose attempts may complete together with writes of their own."""

    abstract = True

    @property
    def effects(self) -> Effects:
        """The writes that are made with the job's completion in one transaction: `jobclaim.jobs.Effects`.

        A task that the body calls as a function also collects for the body's job.

        Raises
        ------
        InvalidEffect
            There is no running attempt.
        """
        collected = _current.get()
        if collected is None:
            raise InvalidEffect(NO_ATTEMPT.format(task=self.name))
        return collected

    def _begin_effects(self, own_tables: frozenset[str]) -> None:
        _current.set(Effects(own_tables))

    def _has_effects(self) -> bool:
        collected = _current.get()
        return collected is not None and len(collected) > 0

    def _refuse_effects(self, what: str) -> None:
        """Refuse effects that would never be made, because the job does not end by its body's return. Raises
        `InvalidEffect`.
        """
        if self._has_effects():
            raise InvalidEffect(
                f"{what} passes the work of task {self.name!r} on, so this job does not complete and its "
                f"{len(self.effects)} effects are not made; add them in the task that continues the work"
            )

    def _complete_with_effects(self, result: Any) -> None:
        """Write the completion and all effects; a refusal counts as the body's exception, so the task's retries apply.

        Raises
        ------
        jobs.EffectRefused, jobs.InvalidEffect, celery.exceptions.Retry
            Nothing was written, or only the retry.
        celery.exceptions.Ignore
            The claim has ended, or DynamoDB did not answer while it held.
        """
        step = _AfterBody(self, lambda: self._write_with_effects(result))
        add_autoretry_behaviour(step)
        self.request.completed = step.run()

    def _write_with_effects(self, result: Any) -> Job:
        request, repo = self.request, self.jobclaim.repo
        job: Job = request.job
        notifications: list[Job] = []
        if links.has_followers(request):
            with joining(planned := Transaction(repo)):
                notifications.append(links.following(repo, job))
            notifications = planned.jobs
        ttl = getattr(request, "result_ttl", None)
        try:
            completed = record_success(
                repo, job.job_id, job.claim_token, result, ttl, effects=self.effects, beside=notifications
            )
        except InvalidPayload as error:
            raise EncodeError(f"the task's return value cannot be stored: {error}") from error
        if completed is None:
            raise Ignore("its claim has ended")
        request.callbacks = request.chain = None  # so that Celery does not send it again
        for one in notifications:
            publish_if_due(self.app, one)
        return completed


class _AfterBody:
    """Shows Celery's autoretry a task whose ``run`` is the work after the body, so that this is retried like the body.

    All other attributes are the task's.
    """

    def __init__(self, task: Any, run: Callable[[], Job]) -> None:
        vars(self).update(task=task, run=run)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_run":
            raise AttributeError(name)
        return getattr(self.task, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("run", "_orig_run"):
            vars(self)[name] = value
        else:
            setattr(self.task, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.task, name)
