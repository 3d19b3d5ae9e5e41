"""Reads of the job table and its index: one method per request, with readable errors and without decisions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from jobclaim.jobs.clock import Clock, wait
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute, from_item, key_of, text_in
from jobclaim.jobs.errors import JobUnreadable, StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.storage.resilience import FIRST_WAIT_SECONDS, persistently

log = get_logger("jobclaim.jobs")
T = TypeVar("T")

BATCH: Final = 100
"""Maximum keys of one BatchGetItem (AWS, "BatchGetItem")."""
BATCH_ROUNDS: Final = 8
"""How often unprocessed keys are requested again."""


class Jobs(dict[str, Job]):
    """Jobs by id.

    Attributes
    ----------
    unreadable : dict of str to str
        Why items could not be read, by id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unreadable: dict[str, str] = {}

    def add(self, item: Item) -> None:
        """Add an item as DynamoDB returns it."""
        try:
            job = from_item(item)
        except JobUnreadable as error:
            self.unreadable[error.job_id] = str(error)
            log.error("job.unreadable", job_id=error.job_id, reason=str(error))
        else:
            self[job.job_id] = job


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One row of the index: a job's id and its sort key in epoch milliseconds."""

    job_id: str
    at: int


class TableReads:
    """Read requests on one job table.

    Parameters
    ----------
    client : callable
        Returns a boto3 DynamoDB client of this process.
    """

    def __init__(
        self, client: Callable[[], Any], name: str, *, clock: Clock, sleep: Callable[[float], None] = wait
    ) -> None:
        self.client = client
        self.name = name
        self.sleep = sleep
        self._clock = clock

    def get(self, job_id: str) -> Job | None:
        """Read one job consistently."""
        answer = self._ask("get_item", {"Key": key_of(job_id), "ConsistentRead": True})
        return from_item(answer["Item"]) if "Item" in answer else None

    def get_many(self, job_ids: Sequence[str], *, consistent: bool = False) -> Jobs:
        """Read jobs by id, a hundred per request. A consistent read costs twice as much.

        Missing jobs are left out, and so are those whose items cannot be read: one of them must not hide the others.
        """
        found = Jobs()
        unique_ids = list(dict.fromkeys(job_ids))  # BatchGetItem refuses duplicate keys
        for start in range(0, len(unique_ids), BATCH):
            for item in self._batch([key_of(job_id) for job_id in unique_ids[start : start + BATCH]], consistent):
                found.add(item)
        return found

    def items(self, keys: Sequence[str]) -> list[Item]:
        """Read items that are not jobs, at most a hundred, in one request; missing ones are left out."""
        return self._batch([key_of(key) for key in keys], consistent=False) if keys else []

    def tokens_of(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Read the claim tokens of at most a hundred jobs, consistently, in one request; empty for one not running.

        Keys that DynamoDB leaves unprocessed are left out.
        """
        names = {"#key": schema.KEY, "#state": "status", "#token": "claim_token"}
        request = {
            "Keys": [key_of(job_id) for job_id in job_ids],
            "ConsistentRead": True,
            "ProjectionExpression": "#key, #state, #token",
            "ExpressionAttributeNames": names,
        }
        answer = self._ask_client("batch_get_item", {"RequestItems": {self.name: request}})
        unread = answer.get("UnprocessedKeys", {}).get(self.name, {"Keys": []})["Keys"]
        found = dict.fromkeys(job_ids, "")
        for key in unread:
            del found[key[schema.KEY]["S"]]
        for item in answer["Responses"].get(self.name, []):
            runs = text_in(item, "status") == JobStatus.PROCESSING
            found[item[schema.KEY]["S"]] = text_in(item, "claim_token") if runs else ""
        return found

    def entries(
        self,
        state_key: str,
        *,
        limit: int,
        newest_first: bool = False,
        after: IndexEntry | None = None,
        since: int | None = None,
        up_to: int | None = None,
    ) -> list[IndexEntry]:
        """Read one page of an index partition in the order of its times; ``after`` continues behind an entry.

        ``since`` and ``up_to`` bound the times in epoch milliseconds, inclusive; ``since`` requires ``up_to``.
        """
        condition, values = f"{schema.INDEX_HASH} = :key", {":key": attribute(state_key)}
        if since is not None and up_to is not None:
            condition += f" AND {schema.INDEX_RANGE} BETWEEN :since AND :up_to"
            values |= {":since": attribute(since), ":up_to": attribute(up_to)}
        elif up_to is not None:
            condition += f" AND {schema.INDEX_RANGE} <= :up_to"
            values[":up_to"] = attribute(up_to)
        request: dict[str, Any] = {
            "IndexName": schema.INDEX,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not newest_first,
        }
        if after is not None:
            request["ExclusiveStartKey"] = {
                **key_of(after.job_id),
                schema.INDEX_HASH: attribute(state_key),
                schema.INDEX_RANGE: attribute(after.at),
            }
        rows: list[IndexEntry] = []
        while True:
            answer = self._ask("query", {**request, "Limit": limit - len(rows)})
            rows += [IndexEntry(item[schema.KEY]["S"], int(item[schema.INDEX_RANGE]["N"])) for item in answer["Items"]]
            if len(rows) >= limit or "LastEvaluatedKey" not in answer:  # an answer may be short: it ends at 1 MB
                return rows
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def persist(self, request: Callable[[], T], until: int | None = None) -> T:
        """Retry a request while its error is transient: `jobclaim.jobs.storage.resilience.persistently`."""
        return persistently(request, clock=self._clock, until=until, sleep=self.sleep)

    def _batch(self, keys: list[Item], consistent: bool) -> list[Item]:
        found: list[Item] = []
        request: dict[str, Any] = {self.name: {"Keys": keys, "ConsistentRead": consistent}}
        for tries in range(BATCH_ROUNDS):
            answer = self._ask_client("batch_get_item", {"RequestItems": request})
            found += answer["Responses"].get(self.name, [])
            request = answer.get("UnprocessedKeys") or {}
            if not request:
                return found
            self.sleep(random.uniform(0, FIRST_WAIT_SECONDS * 2**tries))
        raise StoreUnavailable(
            f"DynamoDB returned unprocessed keys of table {self.name!r} {BATCH_ROUNDS} times, because it is "
            "throttling; try again later, or raise the table's read capacity"
        )

    def _ask(self, operation: str, request: dict[str, Any]) -> Any:
        return self._ask_client(operation, {"TableName": self.name, **request})

    def _ask_client(self, operation: str, request: dict[str, Any]) -> Any:
        call = getattr(self.client(), operation)
        return self.persist(lambda: call(**request))
