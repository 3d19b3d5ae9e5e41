"""Celery's pools: which one a worker runs on, and what to do instead of using the others."""

from __future__ import annotations

from typing import Final

PREFORK: Final = ("prefork", "processes")
THREADS: Final = ("threads",)
CUSTOM: Final = "custom"
"""Stands for the pool that CELERY_CUSTOM_WORKER_POOL names: checked by its class when the worker starts."""
INSTEAD: Final = (
    "run it with -P prefork, the default, or with -P threads for bodies that wait on networks, `async def` ones "
    "among them (docs/pools.md)"
)
WHERE: Final = "the pool comes from -P, the app's worker_pool, or CELERY_CUSTOM_WORKER_POOL"

REFUSED: Final = {
    "solo": "it runs bodies in the worker's main thread, where a cancel, a time limit or a stop cannot reach them; "
    "use -c 1 to run one job at a time",
    "gevent": "it has no event loop that the SQS transport could run in",
    "eventlet": "it has no event loop that the SQS transport could run in",
}
"""Why a pool is refused, by Celery's names for them."""


def refusal(name: str) -> str | None:
    """Return why a worker does not run on a pool, and what to do; ``None`` for a supported pool.

    Parameters
    ----------
    name : str
        Celery's name of the pool, or the path of a class.
    """
    if name in (*PREFORK, *THREADS, CUSTOM):
        return None
    why = REFUSED.get(
        name, "it is neither Celery's prefork pool nor its thread pool, the only ones in which claims are kept"
    )
    return f"pool {name!r} is not supported: {why}. {INSTEAD[0].upper()}{INSTEAD[1:]}; {WHERE}"


def asked_for(options: tuple[str, ...]) -> str | None:
    """Return the pool that options of ``celery worker`` name; ``None`` if they name none."""
    for position, option in enumerate(options):
        if option in ("-P", "--pool"):
            return options[position + 1] if position + 1 < len(options) else None
        for prefix in ("--pool=", "-P"):
            if option.startswith(prefix):
                return option.removeprefix(prefix).removeprefix("=")
    return None
