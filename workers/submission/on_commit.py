"""Submitting when Django's transaction is committed, as with Celery's own `DjangoTask`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Task


class OnCommitTask(Task):
    """A task that is submitted when Django's transaction is committed.

    A worker cannot see rows of a transaction that is still open, and a transaction that is rolled back submits nothing.
    """

    abstract = True

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Do as ``delay`` after the commit; at once where no transaction is open."""
        _after_commit(partial(self.delay, *args, **kwargs))

    def apply_async_on_commit(self, *args: Any, **options: Any) -> None:
        """Do as ``apply_async`` after the commit; takes the same options."""
        _after_commit(partial(self.apply_async, *args, **options))


def _after_commit(submit: Callable[[], Any]) -> None:
    from django.db import transaction

    transaction.on_commit(submit)
