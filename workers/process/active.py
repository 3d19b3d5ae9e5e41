"""The requests that children are working on."""

from __future__ import annotations

from celery.worker import state

from jobclaim.workers.process.request import OwnedRequest


def requests() -> list[OwnedRequest]:
    """Return the requests that children work on; the event loop may change Celery's set at any moment."""
    while True:
        try:
            return [request for request in state.active_requests if isinstance(request, OwnedRequest)]
        except RuntimeError:
            continue


def shown(request: OwnedRequest) -> str:
    """Return the ids of the jobs that a request holds, for the log."""
    return ", ".join(sorted(request.job_ids()))
