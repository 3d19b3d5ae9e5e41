"""Requests on the job table: one method per request, with readable errors and without decisions."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from botocore.exceptions import ClientError

from jobclaim.jobs.clock import Clock, wait
from jobclaim.jobs.effects.write import Write
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.changes import Change, Increment, changes
from jobclaim.jobs.encoding.item import Item, attribute, from_item, key_of, place, text_in, to_attributes
from jobclaim.jobs.errors import JobUnreadable, StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.storage.begun import begun
from jobclaim.jobs.storage.bodies import from_json, to_json
from jobclaim.jobs.storage.expressions import NOTHING_BARRED, Barred, update_request
from jobclaim.jobs.storage.payload_items import PayloadItems
from jobclaim.jobs.storage.resilience import FIRST_WAIT_SECONDS, persistently
from jobclaim.jobs.storage.together import Planned, write_together
from jobclaim.jobs.storage.written import Written, judged, signed
from jobclaim.jobs.transitions import TRANSITIONS, Move, as_read

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


class JobTable:
    """DynamoDB requests on one job table.

    Parameters
    ----------
    client : callable
        Returns a boto3 DynamoDB client of this process.
    """

    def __init__(
        self,
        client: Callable[[], Any],
        name: str,
        *,
        clock: Clock,
        shards: int,
        index_completed: bool,
        sleep: Callable[[float], None] = wait,
    ) -> None:
        self.client = client
        self.name = name
        self.shards = shards
        self.index_completed = index_completed
        self._clock = clock
        self.sleep = sleep
        self.payloads = PayloadItems(client, name, clock=clock, sleep=sleep)
        self.on_move: Callable[[Move, Job, Job], object] | None = None
        """Called with each move that was made, the job before it and the job after it."""

    def apply(
        self,
        before: Job | None,
        move: Move,
        after: Job,
        *,
        until: int | None = None,
        beside: Sequence[Job] = (),
        along: Sequence[Write] = (),
    ) -> Written:
        """Make one move of the transition table: the only way to write a job, safe against lost answers.

        Parameters
        ----------
        before : Job or None
            The job as it was read; ``None`` if there was none, from which only some moves may start.
        after : Job
            The job after the move; only the difference is written.
        until : int, optional
            As in `jobclaim.jobs.storage.resilience.persistently`.
        beside : sequence of Job, optional
            New jobs, created in one transaction with this job's write.
        along : sequence of Write, optional
            A caller's own writes in the same transaction: `jobclaim.jobs.storage.together`.
        """
        if before is None and not TRANSITIONS[move].creates:
            raise KeyError(f"the move {move} needs a job that was read before")
        written = self._written(before, move, after, until, beside, along)
        if self.on_move is not None and before is not None and written.made is not None:
            self.on_move(move, before, written.made)
        return written

    def _written(
        self,
        before: Job | None,
        move: Move,
        after: Job,
        until: int | None,
        beside: Sequence[Job],
        along: Sequence[Write],
    ) -> Written:
        if before is not None:
            after = self.payloads.outlasting(before, after, until=until)
            if TRANSITIONS[move].signs:
                after = signed(before, after, secrets.token_hex(4))
        if along or beside:
            planned = [Planned(before, move, after), *(Planned(None, Move.SUBMIT_WITH_WRITES, job) for job in beside)]
            return write_together(self, planned, along, until=until)[0]
        if before is None:
            return self._put(move, after, self.put_request(after))
        known, difference = as_read(before), self.changes(before, after)
        return self.move(before.job_id, move, after, expected=known, changes=difference, until=until)

    def puts(self, jobs: Sequence[tuple[Job, str | None]]) -> list[Callable[[], Written]]:
        """Begin the first tries of new jobs' puts at the same time; return for each what finishes it, as `apply`.

        The jobs are given with the JSON of their payloads, as to `put_request`.
        """
        requests = [self.put_request(job, text) for job, text in jobs]
        calls = begun(self.client(), "put_item", [{"TableName": self.name, **request} for request in requests])
        made = zip(jobs, requests, calls, strict=True)
        return [partial(self._put, Move.SUBMIT, job, request, call) for (job, _), request, call in made]

    def _put(self, move: Move, job: Job, request: dict[str, Any], call: Callable[..., Any] | None = None) -> Written:
        return judged(self._conditional("put_item", request, call=call), move, job)

    def move(
        self,
        job_id: str,
        move: Move,
        after: Job,
        *,
        expected: Mapping[str, str | int],
        changes: Mapping[str, Change],
        barred: Barred = NOTHING_BARRED,
        until: int | None = None,
    ) -> Written:
        """Make a move on a job that was not read: ``after`` holds the known values, by which the move is recognized.

        Other moves go through `apply`.
        """
        request = update_request(move, expected, changes, barred)
        return judged(self._conditional("update_item", {"Key": key_of(job_id), **request}, until), move, after)

    def planned(self, before: Job, move: Move, after: Job) -> bytes:
        """Return the JSON of the one request that `apply` would make for an update, to be made by any process."""
        request = update_request(move, as_read(before), self.changes(before, after))
        return to_json({"TableName": self.name, "Key": key_of(before.job_id), **request})

    def make(self, request: bytes, *, until: int) -> Written:
        """Make a planned request, retried as `apply` does; the caller judges a refusal."""
        return self._conditional("update_item", from_json(request), until)

    def release_unread(self, job_id: str, token: str) -> None:
        """Release, uncharged, a job that was claimed by a version that cannot read it: it waits for one that can."""
        changes: dict[str, Change] = {"charged": Increment(-1), "dispatched_at": self._clock()}
        request = update_request(Move.RELEASE, {"claim_token": token}, changes)
        with suppress(JobUnreadable, StoreUnavailable):  # it was not claimed, or its lease ends the claim
            self._conditional("update_item", {"Key": key_of(job_id), **request})

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

    # --- parts of transactions
    def put_request(self, job: Job, text: str | None = None) -> dict[str, Any]:
        """Return the request that puts a job unless its id is taken; ``text`` as in `to_attributes`."""
        stored = to_attributes(job, text) | self.place(job)
        return {
            "Item": {name: attribute(value) for name, value in stored.items()},
            "ConditionExpression": f"attribute_not_exists({schema.KEY})",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def changes(self, before: Job, after: Job) -> dict[str, Change]:
        """Return what an update must set and remove."""
        return changes(before, after, shards=self.shards, index_completed=self.index_completed)

    def place(self, job: Job) -> dict[str, str | int]:
        """Return the job's place in this table's index."""
        return place(job, shards=self.shards, index_completed=self.index_completed)

    def persist(self, request: Callable[[], T], until: int | None = None) -> T:
        """Retry a request while its error is transient: `jobclaim.jobs.storage.resilience.persistently`."""
        return persistently(request, clock=self._clock, until=until, sleep=self.sleep)

    def _conditional(
        self,
        operation: str,
        request: dict[str, Any],
        until: int | None = None,
        call: Callable[..., Any] | None = None,
    ) -> Written:
        call, tries = call or getattr(self.client(), operation), 0

        def write() -> Any:
            nonlocal tries
            tries += 1
            return call(**{"TableName": self.name, **request})

        try:
            answer = self.persist(write, until)
        except ClientError as error:  # `persistently` lets only a refused condition through
            response: Any = error.response
            item = response.get("Item")
            tries += response.get("ResponseMetadata", {}).get("RetryAttempts", 0)  # the client's own retries
            return Written(False, from_item(item) if item else None, tries)
        return Written(True, from_item(answer["Attributes"]) if "Attributes" in answer else None, tries)

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
