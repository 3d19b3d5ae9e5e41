"""Submit when Django's transaction is committed, as with Celery's own `DjangoTask`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Task

from jobclaim.jobs import JobError


class NoDjango(JobError):
    """A task was to be submitted on the commit of a Django transaction, but Django is not installed."""


class OnCommitTask(Task):
    """A task that is submitted when Django's transaction is committed.

    A worker cannot see the rows of an open transaction, and a transaction that is rolled back must not submit anything.
    """

    abstract = True

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Submit as ``delay`` after the commit; at once if no transaction is open. Raises `NoDjango`."""
        _after_commit(partial(self.delay, *args, **kwargs), f"{self.name}.delay")

    def apply_async_on_commit(self, *args: Any, **options: Any) -> None:
        """Submit as ``apply_async``, with the same options, after the commit. Raises `NoDjango`."""
        _after_commit(partial(self.apply_async, *args, **options), f"{self.name}.apply_async")


def _after_commit(submit: Callable[[], Any], call: str) -> None:
    try:
        from django.db import transaction
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise
        raise NoDjango(f"{call}_on_commit needs Django, which is not installed; call {call} instead") from error
    transaction.on_commit(submit)
