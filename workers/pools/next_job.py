"""Give a child of the pool its next job while it records the outcome of the one before.

Celery's pool gives a child a job when the child has answered for its last one. A round trip to DynamoDB before, the
body has ended already: the child says so (`ask`), and where messages wait for a process, the pool writes the next one
into the child's pipe meanwhile (`answer_early`). The child reads it when it is done, without waiting for the main
process, so a process still holds one attempt at a time.

A job in the pipe is as any other that no child has accepted: its message is not deleted, and the pool gives it to
another child if this one ends. Nothing is given early to a child that is about to be replaced, nor at a stop, nor after
a task with hooks of its own, because a hook that takes long would keep the next job waiting.
"""

from __future__ import annotations

import os
from typing import Any, Final
from weakref import WeakSet

from billiard.pool import READY, RUN
from billiard.process import current_process
from celery.app.trace import task_has_custom

from jobclaim.workers.attempt import soft_limit

NEXT: Final = 0x6A
"""Beside the messages of billiard's and Celery's pools: a child can be given its next job."""
HOOKS: Final = ("on_success", "after_return")


def ask(task: Any, request: Any) -> None:
    """Tell the main process, from a child whose body has returned, that only the outcome is still to be recorded."""
    answers = getattr(current_process(), "outq", None)
    if answers is None or request.is_eager or any(task_has_custom(task, hook) for hook in HOOKS):
        return
    with soft_limit.passes_by():  # an exception amid a message would leave half of it in the pipe
        answers.put((NEXT, (os.getpid(),)))


def answer_early(pool: Any) -> None:
    """Make a prefork pool answer the children that ask. (Celery 5.7: `AsynPool`; billiard 4.3: `ResultHandler`.)"""
    inner: Any = getattr(pool, "_pool", None)
    if getattr(inner, "_busy_workers", None) is None:
        return
    early = EarlyAnswers(inner)
    handlers = inner._result_handler.state_handlers
    early.usual = handlers[READY]
    handlers.update({NEXT: early.asked, READY: early.ready})


class EarlyAnswers:
    """The pool's side.

    Parameters
    ----------
    pool : celery.concurrency.asynpool.AsynPool
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._early: WeakSet[Any] = WeakSet()
        self.usual: Any = None

    def asked(self, pid: int) -> None:
        """Free a child's place for the next job, if one waits for a place."""
        jobs = self._pool._cache.values()
        job = next((job for job in jobs if job._worker_pid == pid and not job.ready()), None)
        if job is None or job in self._early or not self._is_waited_for() or self._is_replaced(pid):
            return
        self._early.add(job)
        self._pool._busy_workers.discard(job._write_to.inqW_fd)
        self._pool._putlock.release()

    def ready(self, number: int, part: int | None, answer: Any, pipe: int) -> None:
        """Handle the answer for a job; one whose place was freed frees none again."""
        job = self._pool._cache.get(number)
        if job not in self._early:
            self.usual(number, part, answer, pipe)
            return
        self._early.discard(job)
        waiting, nobody = self._pool._putlock._waiting, (_nothing, (), dict[str, Any]())
        waiting.appendleft(nobody)  # it gets the place that billiard frees
        self.usual(number, part, answer, None)
        if waiting and waiting[0] is nobody:
            waiting.popleft()

    def _is_waited_for(self) -> bool:
        pool = self._pool
        return pool._state == RUN and bool(pool.outbound_buffer or pool._putlock._waiting)

    def _is_replaced(self, pid: int) -> bool:
        """Return whether the child ends after its job."""
        most, ended = self._pool._maxtasksperchild, self._pool._on_ready_counters[pid].value
        return bool(self._pool._max_memory_per_child or (most and ended + 1 >= most))


def _nothing() -> None:
    """Take a place in the pool for no job."""
