"""``self.effects``: writes of a body's that are made together with its job's completion, or not at all.

::

    before_start ──▶ this attempt's Effects ──▶ body collects ──▶ it returns ──▶ one transaction: COMPLETED and writes
                                                   │                               ├ its claim is over ──▶ dropped
                                                   └ raises, retries, snoozes      └ refused ──▶ EffectRefused, as if
                                                     ──▶ dropped                     the body had raised it

They belong to the context of the attempt, not to the task, which threads share: a thread that the body starts collects
too where it runs in a copy of the context (``contextvars.copy_context().run``). What follows the job, callbacks and the
rest of a chain, is sent by a small job that is written in the same transaction: no crash can come between.
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
from jobclaim.jobs.repo.transaction import Transaction
from jobclaim.workers.attempt.outcome import record_success
from jobclaim.workers.results import links
from jobclaim.workers.submission.dispatch import publish_if_due

NO_ATTEMPT: Final = (
    "self.effects of task {task!r}: no attempt runs here whose completion the writes could be made with; submit the "
    "task, or run it by apply(), instead of calling it; in a thread of a body's, run in a copy of its context. Outside "
    "tasks use jobclaim.transaction()"
)

_current: ContextVar[Effects | None] = ContextVar("effects", default=None)


@contextmanager
def collecting(effects: Effects) -> Iterator[Effects]:
    """Have what runs in the block collect its effects there."""
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
        """Writes that are made with the job's completion in one transaction: `jobclaim.jobs.Effects`.

        A body that calls another task as a function collects for its own job there too.

        Raises
        ------
        InvalidEffect
            No attempt is running.
        """
        collected = _current.get()
        if collected is None:
            raise InvalidEffect(NO_ATTEMPT.format(task=self.name))
        return collected

    def _begin_effects(self) -> None:
        _current.set(Effects(self.jobclaim.repo.own_tables))

    def _has_effects(self) -> bool:
        collected = _current.get()
        return collected is not None and len(collected) > 0

    def _refuse_effects(self, what: str) -> None:
        """Refuse collected effects where the job's end is not a body's return. Raises `InvalidEffect`."""
        if self._has_effects():
            raise InvalidEffect(
                f"{what} hands the work of task {self.name!r} over, so there is no completion to make its "
                f"{len(self.effects)} effects with; collect them in the task that takes it over"
            )

    def _complete_with_effects(self, result: Any) -> None:
        """Write the completion and all effects; a refusal is the body's, so the task's own retries look at it.

        Raises
        ------
        jobs.EffectRefused, jobs.InvalidEffect, celery.exceptions.Retry
            Nothing was written, or another attempt was.
        celery.exceptions.Ignore
            The claim is over, or DynamoDB did not answer as long as it lasted.
        """
        step = _AfterBody(self, lambda: self._write_with_effects(result))
        add_autoretry_behaviour(step)
        self.request.completed = step.run()

    def _write_with_effects(self, result: Any) -> Job:
        request, repo = self.request, self.jobclaim.repo
        job: Job = request.job
        told: list[Job] = []
        if links.has_followers(request):
            with (planned := Transaction(repo)).joining():
                told.append(links.following(repo, job))
            told = planned.jobs
        ttl = getattr(request, "result_ttl", None)
        try:
            done = record_success(repo, job.job_id, job.claim_token, result, ttl, effects=self.effects, beside=told)
        except InvalidPayload as error:
            raise EncodeError(f"the task's return value cannot be stored: {error}") from error
        if done is None:
            raise Ignore("its claim is over")
        request.callbacks = request.chain = None  # Celery has nothing left to send
        for one in told:
            publish_if_due(self.app, one)
        return done


class _AfterBody:
    """What an attempt does after its body, in the place of ``run``: Celery's autoretry wraps it as it does the body.

    Everything else is the task's.
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
