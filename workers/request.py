"""The request as the worker's main process sees it: it knows the claim's token before the child makes the claim."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

from jobs.claims import new_token
from workers.message import TOKEN


class JobRequest(Request):
    """A delivery of a job's message. Each delivery draws its own token: two of one message must not share a claim."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request_dict[TOKEN] = new_token()
