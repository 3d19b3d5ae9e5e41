"""Submit from a coroutine: the requests are made in threads, so the event loop is not blocked.

::

    await task.adelay(7)     loop ──▶ one of THREADS threads: task.delay(7)     all of it, the imports and clients of
                             loop ◀── handle, or the exception                   a process's first call included
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from celery import Task, _state

from jobclaim.jobs.locks import ProcessLock

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from jobclaim.workers.submission.bulk import BulkReport

T = TypeVar("T")

THREADS: Final = 16
"""Concurrent submissions of a process; the others wait, but the loop does not."""

_pools: Final[dict[int, ThreadPoolExecutor]] = {}
_lock: Final = ProcessLock()


async def off_loop(call: Callable[[], T]) -> T:
    """Make a call in a thread, with the context variables and the current task of the caller; return its result.

    A cancelled caller stops waiting; the call is still made, and the program waits for it when it ends.
    """
    context, task = copy_context(), _state.get_current_worker_task()
    request = task.request if task is not None else None

    def call_in_thread() -> T:
        with _current(task, request):
            return call()

    return await asyncio.shield(asyncio.get_running_loop().run_in_executor(_pool(), context.run, call_in_thread))


class AwaitableTask(Task):
    """A task whose calls can be awaited."""

    abstract = True

    async def adelay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Submit as ``delay`` does, without blocking the event loop."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Submit as ``apply_async`` does, without blocking the event loop, a process's first call included.

        Cancelling the coroutine does not cancel the call: the job is still submitted.

        Parameters
        ----------
        options
            The options of ``apply_async``.

        Raises
        ------
        TypeError, jobs.JobError
            The same errors as `apply_async`.
        """
        return await off_loop(partial(self.apply_async, args, kwargs, task_id, **options))

    async def asubmit_many(self, calls: Iterable[Any], **options: Any) -> BulkReport:
        """Submit any number of calls as ``submit_many`` does, without blocking the event loop; a thread reads them."""
        return await off_loop(partial(self.submit_many, calls, **options))


def _pool() -> ThreadPoolExecutor:
    """Return this process's thread pool. A forked child needs its own: the parent's threads do not exist there."""
    pid = os.getpid()
    with _lock:
        if pid not in _pools:
            _pools[pid] = ThreadPoolExecutor(THREADS, thread_name_prefix="jobclaim-submit")
        return _pools[pid]


@contextmanager
def _current(task: Any, request: Any) -> Iterator[None]:
    """Make the caller's task the current one, so that submitted jobs have it as their parent."""
    if task is None:
        yield
        return
    _state.push_current_task(task)
    task.request_stack.push(request)
    try:
        yield
    finally:
        task.request_stack.pop()
        _state._task_stack.pop()
