"""Attempts without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import _state


@contextmanager
def attempt_of(task: Any) -> Iterator[None]:
    """What Celery's tracer sets round a body."""
    task.push_request(called_directly=False)
    _state._task_stack.push(task)
    try:
        yield
    finally:
        _state._task_stack.pop()
        task.pop_request()
