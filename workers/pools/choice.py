"""Choose the pool of a starting worker: Celery's prefork, jobclaim's threads; any other is refused."""

from __future__ import annotations

from typing import Any, Final

from celery import concurrency
from celery.concurrency import prefork, thread

from jobclaim.specs import pools
from jobclaim.workers.pools.threads import TaskPool

CELERYS: Final = "celery.concurrency."


def choose(worker: Any) -> None:
    """Replace Celery's pool of threads by jobclaim's, or refuse to start the worker.

    Raises
    ------
    SystemExit
        The message names the pool, why it is not supported, and the alternative.
    """
    name, pool_class = _resolved(worker.pool_cls)
    if pool_class is not None and issubclass(pool_class, prefork.TaskPool):
        return
    if pool_class is None or pool_class not in (thread.TaskPool, TaskPool):
        _refuse(pools.refusal(name) or f"pool {name!r} cannot be imported")
    if worker.options.get("autoscale"):
        _refuse("--autoscale applies to processes; threads are started as they are needed, so give only -c")
    worker.pool_cls = TaskPool


def _resolved(pool: Any) -> tuple[str, type[Any] | None]:
    """Return a pool's name and class, without importing pools of greenlets."""
    if isinstance(pool, str):
        if pool in pools.REFUSED:
            return pool, None
        pool = concurrency.get_implementation(pool)
    module = str(pool.__module__)
    return (
        (module.removeprefix(CELERYS), pool) if module.startswith(CELERYS) else (f"{module}:{pool.__qualname__}", pool)
    )


def _refuse(problem: str) -> None:
    raise SystemExit(f"jobclaim: this worker cannot start:\n- {problem}")
