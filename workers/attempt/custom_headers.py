"""``self.request.headers`` of a body: the headers of its message that are not Celery's own.

Celery's `Context` removes each of its own fifty names from a copy of every request, although all requests of a worker
have the same names. Here that is done once for these names, by Celery itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from celery.app.task import Context

from jobclaim.workers.scope import Tracer


def with_custom_headers(tracer: Tracer) -> Tracer:
    """Make a tracer that puts them into the request, where Celery's would find none and look for them."""

    def trace(task_id: str, args: Any, kwargs: Any, request: Any = None, **options: Any) -> Any:
        if request and request.get("headers") is None and (names := custom(tuple(request))):
            request["headers"] = {name: request[name] for name in names}
        return tracer(task_id, args, kwargs, request, **options)

    return trace


@lru_cache(maxsize=128)
def custom(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return which names of a request Celery does not know."""
    return tuple(Context(dict.fromkeys(names)).headers or ())
