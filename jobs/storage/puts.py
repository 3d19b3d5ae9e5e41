"""Puts of several new jobs that are begun at the same time and finished one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from jobclaim.jobs.model import Job
from jobclaim.jobs.storage.table import JobTable
from jobclaim.jobs.storage.written import Written
from jobclaim.jobs.transitions import Move


def begin(table: JobTable, jobs: Sequence[tuple[Job, str | None]]) -> list[Callable[[], Written]]:
    """Make the first tries of new jobs' puts at the same time; return for each what finishes it, as `JobTable.apply`.

    The jobs are given with the JSON of their payloads, as to `JobTable.put_request`. A client that cannot begin
    requests makes each of them when it is finished.
    """
    requests = [table.put_request(job, text) for job, text in jobs]
    calls = _begun(table.client(), "put_item", [{"TableName": table.name, **request} for request in requests])
    begun = zip(jobs, requests, calls, strict=True)
    return [partial(table.put, Move.SUBMIT, job, request, call) for (job, _), request, call in begun]


def _begun(client: Any, name: str, requests: Sequence[Mapping[str, Any]]) -> list[Callable[..., Any]]:
    from jobclaim.jobs.storage.lean import LeanClient  # it loads libcurl, which the client does too

    if isinstance(client, LeanClient):
        return client.begin(name, requests)
    return [getattr(client, name)] * len(requests)
