"""Writes to the job table: every move of a job, in one way, safe against lost answers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from jobclaim.jobs.clock import Clock, wait
from jobclaim.jobs.effects.write import Write
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.changes import Change, Increment, changes
from jobclaim.jobs.encoding.item import attribute, from_item, key_of, place, to_attributes
from jobclaim.jobs.errors import JobUnreadable, StoreUnavailable
from jobclaim.jobs.model import Job
from jobclaim.jobs.storage.begun import begun
from jobclaim.jobs.storage.bodies import from_json, to_json
from jobclaim.jobs.storage.expressions import NOTHING_BARRED, Barred, update_request
from jobclaim.jobs.storage.payload_items import PayloadItems
from jobclaim.jobs.storage.reads import TableReads
from jobclaim.jobs.storage.together import Planned, write_together
from jobclaim.jobs.storage.written import Written, judged, signed
from jobclaim.jobs.transitions import TRANSITIONS, Move, as_read


class JobTable(TableReads):
    """The DynamoDB requests on one job table.

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
        super().__init__(client, name, clock=clock, sleep=sleep)
        self.shards = shards
        self.index_completed = index_completed
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
