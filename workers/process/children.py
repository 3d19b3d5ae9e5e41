"""Signals to the pool's children: freeze, thaw and end them; and what the pool knows of the jobs that they have."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import wait
from typing import Any, Final

from billiard.pool import RUN

from jobclaim.workers.state import worker

CONFIRM_SECONDS: Final = 1.0
"""Seconds that a stop waits for children to confirm jobs that they were just given: usually some milliseconds."""


class Children:
    """The processes of a prefork pool. A pool of threads has none: then nothing can be stopped from outside.

    Parameters
    ----------
    pool : celery.concurrency.base.BasePool
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def freeze(self, pid: int | None) -> bool:
        """Freeze a child, so that what is recorded about its job stays true; ``False`` if there is none."""
        return self._is_child(pid) and self._signal(pid, signal.SIGSTOP)

    def thaw(self, pid: int | None) -> None:
        """Resume a frozen child."""
        if self._is_child(pid):
            self._signal(pid, signal.SIGCONT)

    def ask_to_end(self, pid: int | None) -> None:
        """End a child by SIGTERM: its ``finally`` blocks run."""
        self._end(pid, signal.SIGTERM)
        self.thaw(pid)

    def kill(self, pid: int | None) -> None:
        """End a child at once."""
        self._end(pid, signal.SIGKILL)

    def left(self) -> list[int]:
        """Return the children of a closing pool, each of which ends after its job; none while the pool works."""
        inner = getattr(self._pool, "_pool", None)
        return [] if getattr(inner, "_state", RUN) == RUN else self.living()

    def are_starting(self) -> bool:
        """Return whether a child was given a job and has not confirmed it yet: it may claim at any moment."""
        inner = getattr(self._pool, "_pool", None)
        return any(job._write_to and not job._accepted for job in list(getattr(inner, "_cache", {}).values()))

    def living(self) -> list[int]:
        """Return all children that have not ended."""
        inner = getattr(self._pool, "_pool", None)
        if not hasattr(self._pool, "terminate_job") or inner is None:
            return []
        return [child.pid for child in list(inner._pool) if child.pid is not None and not _has_ended(child.pid)]

    def end_now(self, pids: Iterable[int], *, gently: bool) -> None:
        """End children of a pool that is closing: by SIGTERM, or at once. The pool expects them to end."""
        for pid in pids:
            self._signal(pid, signal.SIGTERM if gently else signal.SIGKILL)

    def _end(self, pid: int | None, number: signal.Signals) -> None:
        if self._is_child(pid):
            self._pool.terminate_job(pid, number)  # also tells the pool that this end is intended

    def _is_child(self, pid: int | None) -> bool:
        return pid is not None and pid != os.getpid() and hasattr(self._pool, "terminate_job")

    def have_ended(self, pids: Iterable[int | None]) -> bool:
        """Return whether one of these children has ended and the pool has not noticed yet."""
        return any(_has_ended(pid) for pid in pids if pid is not None)

    @staticmethod
    def _signal(pid: int | None, number: signal.Signals) -> bool:
        assert pid is not None
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True


def _has_ended(pid: int) -> bool:
    try:
        # WNOWAIT leaves the child for the pool to reap
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def read_answers_first(pool: Any) -> None:
    """Make a prefork pool read what an ended child has answered before it gives the child's job to another one.

    The pool looks at its children, and then at the jobs of those that have ended. A child that ends between the two has
    accepted its job, but its answer is not read yet: the pool takes the job for one that did not begin, and a second
    body would run. (Celery 5.7: `AsynPool.on_job_process_down` and `on_partial_read`.)
    """
    inner: Any = getattr(pool, "_pool", None)
    usual = getattr(inner, "on_job_process_down", None)
    if usual is None:
        return

    def on_job_process_down(job: Any, pid_gone: int) -> None:
        child = job._write_to or job._scheduled_for
        if not job._accepted and child is not None and not child.dead:
            inner.process_flush_queues(child)
            if job._accepted:
                return  # the pool's next look finds the child, and the job as lost with it
        usual(job, pid_gone)

    inner.on_job_process_down = on_job_process_down


def read_outcomes_before_limits(pool: Any) -> None:
    """Make a prefork pool read the outcome that a child has handed over before it ends the child for its hard limit.

    The event loop looks at limits before it reads answers, and a loop that stood still may find both: the pool would
    drop the answer of a body that returned in time. (billiard: `TimeoutHandler.on_hard_timeout`.)
    """
    inner: Any = getattr(pool, "_pool", None)
    handler: Any = getattr(inner, "_timeout_handler", None)
    usual = getattr(handler, "on_hard_timeout", None)
    if usual is None or not hasattr(inner, "_fileno_to_outq"):
        return

    def on_hard_timeout(job: Any) -> None:
        if _is_handed_over(job):
            _read_answers(inner, lambda one: one is job and not job.ready())
        usual(job)

    handler.on_hard_timeout = inner.on_hard_timeout = on_hard_timeout


def keep_unconfirmed(pool: Any, then: Callable[[], None]) -> None:
    """Make a prefork pool keep the jobs that its children have and did not confirm yet, when it drops those that wait.

    ``then`` is called when it has, in the event loop's thread and after the loop: Celery ends neither at a stop nor
    after a lost connection what runs there.

    Celery drops both at a stop and after a lost connection. The child then claims its job and runs the body, but nobody
    knows: a stop would take the child for idle and kill it. (Celery 5.7: `AsynPool.flush`.)
    """
    inner: Any = getattr(pool, "_pool", None)
    usual = getattr(inner, "flush", None)
    if usual is None:
        return

    def flush() -> None:
        _read_answers(inner, lambda job: _is_given(inner, job) or _is_handed_over(job))
        given = [job for job in list(inner._cache.values()) if _is_given(inner, job)]
        for job in given:
            job.discard = _do_nothing  # it stays known while the pool looks after its children
        try:
            usual()
            for job in given:
                del job.discard
                if job._write_to._is_alive():
                    if not job.ready():
                        inner._busy_workers.add(job._write_to.inqW_fd)
                elif not job._accepted:
                    job.discard()  # its child has ended, and no other one may get it
        finally:
            then()

    pool.flush = flush


def call_before_stop(pool: Any, call: Callable[[], None]) -> None:
    """Call something before a pool waits for its children: a cold stop does so in its signal's handler, at once."""
    usual = getattr(pool, "stop", None)
    if usual is None:
        return

    def stop() -> None:
        call()
        usual()

    pool.stop = stop


def _do_nothing() -> None:
    pass


def _is_given(inner: Any, job: Any) -> bool:
    """Return whether a child has a job, or gets the rest of it, and has not confirmed it."""
    if job._accepted or not job._write_to:
        return False
    writer = job._writer()
    is_written = writer is None or writer.gi_frame is None
    return is_written or inner._state == RUN  # a closing pool writes nothing more


def _is_handed_over(job: Any) -> bool:
    """Return whether a child has handed over the outcome of a job, with an answer that is not read."""
    request = getattr(job._accept_callback, "__self__", None)
    return bool(job._accepted) and worker.current().is_handed_over(str(getattr(request, "token", "")))


def _read_answers(inner: Any, awaits: Callable[[Any], bool]) -> None:
    """Read what children have answered, until none of the awaited jobs is left or it takes too long."""
    deadline, handler = time.monotonic() + CONFIRM_SECONDS, inner._result_handler
    while (left := deadline - time.monotonic()) > 0:
        children = {job._write_to.outqR_fd: job._write_to for job in inner._cache.values() if awaits(job)}
        for child in children.values():
            if not child._is_alive() and not child.dead:
                inner.process_flush_queues(child)
        unread = {number for number, child in children.items() if child._is_alive()}
        ready = wait(unread, left) if unread else []
        if not ready:
            return
        for number in ready:
            handler._flush_outqueue(number, lambda _: None, inner._fileno_to_outq, handler.on_state_change)
