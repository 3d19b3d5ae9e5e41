"""Give a child of the pool its next job while it records the outcome of the one before.

Celery's pool gives a child a job when the child has answered for its last one. A round trip to DynamoDB before, the
body has ended already: the child says so (`ask`), and where messages wait for a process, the pool writes the next one
into the child's pipe meanwhile (`answer_early`). The child reads it when it is done, without waiting for the main
process, so a process still holds one attempt at a time.

A job in the pipe is as any other that no child has accepted: its message is not deleted, and the pool gives it to
another child if this one ends. Nothing is given early to a child that is about to be replaced, nor at a stop, nor after
a task with hooks of its own, because a hook that takes long would keep the next job waiting.

The child may be at its next job before the main process has read its answer for the one before. So the limits of a job
no longer apply to a child that has been given the next one, and at a stop the child leaves that (`leave_at_stop`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from billiard.pool import EX_OK, READY, RUN
from billiard.process import current_process
from celery.app.trace import task_has_custom

from jobclaim.workers.attempt import soft_limit
from jobclaim.workers.state import worker

NEXT: Final = 0x6A
"""Beside the messages of billiard's and Celery's pools: a child can be given its next job."""
HOOKS: Final = ("on_success", "after_return")
LOOK_AGAIN_SECONDS: Final = 0.05
"""Time for the event loop to read what a child has answered."""
NOBODY: Final = (lambda: None, (), dict[str, Any]())
"""In the queue for the pool's places: it takes one for no job."""

Handler = Callable[..., Any]


def ask(task: Any, request: Any) -> None:
    """Tell the main process, from a child whose body has returned, that only the outcome is still to be recorded."""
    answers = getattr(current_process(), "outq", None)
    if answers is None or request.is_eager or any(task_has_custom(task, hook) for hook in HOOKS):
        return
    with soft_limit.passes_by():  # an exception amid a message would leave half of it in the pipe
        answers.put((NEXT, (os.getpid(),)))


def leave_at_stop() -> None:
    """Make this child end when the worker stops, instead of accepting the job in its pipe, whose message is released.
    (billiard 4.3: `Worker.workloop`.)
    """
    loop: Any = getattr(current_process(), "_target", None)
    usual = getattr(loop, "wait_for_job", None)
    if usual is None:
        return

    def wait_for_job() -> Any:
        job = usual()
        if job and not worker.current().may_start():
            raise SystemExit(EX_OK)
        return job

    loop.wait_for_job = wait_for_job


def answer_early(pool: Any, hub: Any) -> None:
    """Make a prefork pool answer the children that ask. (Celery 5.7: `AsynPool`; billiard 4.3: `ResultHandler`.)"""
    inner: Any = getattr(pool, "_pool", None)
    if getattr(inner, "_busy_workers", None) is None:
        return
    early, handlers = EarlyAnswers(inner, hub), inner._result_handler.state_handlers
    handlers.update({NEXT: early.asked, READY: partial(early.ready, handlers[READY])})
    inner._join_exited_workers = partial(early.exited, inner._join_exited_workers)
    inner.on_soft_timeout = partial(early.over_soft_limit, inner.on_soft_timeout)
    inner.on_hard_timeout = partial(early.over_hard_limit, inner.on_hard_timeout)


class EarlyAnswers:
    """The pool's side; ``usual`` is what the pool does without it.

    Parameters
    ----------
    pool : celery.concurrency.asynpool.AsynPool
    hub : kombu.asynchronous.Hub
    """

    def __init__(self, pool: Any, hub: Any) -> None:
        self._pool, self._hub = pool, hub
        self._early: dict[int, int] = {}  # by child, the job whose place was freed for the next one

    def asked(self, pid: int) -> None:
        """Free a child's place for the next job, if one waits for a place."""
        jobs = self._pool._cache.values()
        job = next((job for job in jobs if job._worker_pid == pid and not job.ready()), None)
        if job is None or self._is_early(job) or not self._is_waited_for() or self._is_replaced(pid):
            return
        self._early[pid] = job._job
        self._pool._busy_workers.discard(job._write_to.inqW_fd)
        self._pool._putlock.release()

    def ready(self, usual: Handler, number: int, part: int | None, answer: Any, pipe: int) -> None:
        """Handle the answer for a job; one whose place was freed frees none again."""
        job = self._pool._cache.get(number)
        if job is None or not self._is_early(job):
            usual(number, part, answer, pipe)
            return
        del self._early[job._worker_pid]
        waiting = self._pool._putlock._waiting
        waiting.appendleft(NOBODY)  # it gets the place that billiard frees
        usual(number, part, answer, None)
        if waiting and waiting[0] is NOBODY:
            waiting.popleft()

    def exited(self, usual: Handler, shutdown: bool = False) -> Any:
        """Handle the end of children, whose places billiard then frees: not again those that were freed already."""
        ended = usual(shutdown)
        for pid in set(self._early).difference(child.pid for child in self._pool._pool):
            del self._early[pid]
            if self._pool._state == RUN:
                self._pool._putlock._waiting.appendleft(NOBODY)
        return ended

    def over_soft_limit(self, usual: Handler, job: Any) -> None:
        """Handle a soft limit. The body of a job whose place was freed has returned: the next one would be hit."""
        if not self._is_early(job):
            usual(job)

    def over_hard_limit(self, usual: Handler, job: Any) -> None:
        """Handle a hard limit: end the child, unless it has answered, and the answer is still to be read."""
        child = job._write_to
        if self._is_early(job) and not child.dead and child.outq._reader.poll(0):
            self._hub.call_later(LOOK_AGAIN_SECONDS, self._pool._on_hard_timeout, job._job)
        else:
            usual(job)

    def _is_early(self, job: Any) -> bool:
        return bool(self._early.get(job._worker_pid) == job._job)

    def _is_waited_for(self) -> bool:
        pool = self._pool
        return pool._state == RUN and bool(pool.outbound_buffer or pool._putlock._waiting)

    def _is_replaced(self, pid: int) -> bool:
        """Return whether the child ends after its job."""
        most, ended = self._pool._maxtasksperchild, self._pool._on_ready_counters[pid].value
        return bool(self._pool._max_memory_per_child or (most and ended + 1 >= most))
