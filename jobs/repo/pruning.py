"""Delete jobs past their retention, for tables without DynamoDB's TTL (other stores, DynamoDB Local, TTL disabled).

One scan, the only one in jobclaim, at a bounded pace. Every delete is conditional on the ``expires_at`` that was read,
so a job that was started again meanwhile stays; open jobs have no ``expires_at`` and are never deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.storage.resilience import persistently


@dataclass(frozen=True, slots=True)
class Pruned:
    """The result of one run.

    Attributes
    ----------
    seen : int
        Items past their retention.
    deleted : int
        Items that were deleted; fewer than ``seen`` if some changed meanwhile, or with ``dry_run``.
    complete : bool
        Whether the whole table was read; ``False`` when ``limit`` was reached.
    """

    seen: int
    deleted: int
    complete: bool


def prune(
    repo: JobRepo,
    *,
    limit: int | None = None,
    dry_run: bool = False,
    per_second: float = 100.0,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Pruned:
    """Delete everything past its retention: jobs and notes alike.

    Parameters
    ----------
    limit : int, optional
        Maximum number of deletes.
    per_second : float
        Maximum deletes per second, so that workers keep their write units.

    Raises
    ------
    StoreUnavailable
        What was deleted so far stays deleted; the next run continues.
    """
    seen = deleted = 0
    for key, expires_at in _expired(repo):
        if limit is not None and seen >= limit:
            return Pruned(seen, deleted, complete=False)
        seen += 1
        if not dry_run:
            deleted += _delete(repo, key, expires_at)
            repo.table.sleep(1 / per_second)
        on_progress(seen)
    return Pruned(seen, deleted, complete=True)


def _expired(repo: JobRepo) -> Iterator[tuple[str, int]]:
    request: dict[str, Any] = {
        "TableName": repo.table.name,
        "FilterExpression": "#ttl < :now",
        "ProjectionExpression": "#key, #ttl",
        "ExpressionAttributeNames": {"#ttl": schema.TTL, "#key": schema.KEY},
        "ExpressionAttributeValues": {":now": attribute(repo.clock() // 1000)},
    }
    while True:
        answer = _ask(repo, lambda: repo.table.client().scan(**request))
        for item in answer["Items"]:
            yield item[schema.KEY]["S"], int(item[schema.TTL]["N"])
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _delete(repo: JobRepo, key: str, expires_at: int) -> bool:
    from botocore.exceptions import ClientError

    request = {
        "TableName": repo.table.name,
        "Key": {schema.KEY: attribute(key)},
        "ConditionExpression": "#ttl = :read",
        "ExpressionAttributeNames": {"#ttl": schema.TTL},
        "ExpressionAttributeValues": {":read": attribute(expires_at)},
    }
    try:
        _ask(repo, lambda: repo.table.client().delete_item(**request))
    except ClientError:  # its condition: `persistently` raises any other error as `StoreUnavailable`
        return False
    return True


def _ask(repo: JobRepo, request: Callable[[], Any]) -> Any:
    return persistently(request, clock=repo.clock, sleep=repo.table.sleep)
