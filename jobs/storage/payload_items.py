"""Payloads in items of their own beside the job's, so that reads of the job do not pay for them.

::

    create_job(payload)  ──above `inline_payload_bytes`──▶ PutItem payload item ──▶ PutItem job {"jobclaim:s3": mark}
    claim_job, get_job   ◀── GetItem, checked against its hash ◀────────────────── job
    any write of the job ──its payload ends too soon──▶ UpdateItem payload item ──▶ UpdateItem job, with the new end

The payload's item is written before the job's, so a job never points to a missing payload. An item whose job was then
refused is left behind, and DynamoDB deletes it when it expires. Its key contains the job's id and the hash of its
content: a submission that is repeated writes one item, two payloads of one job never overwrite each other, and equal
payloads of many jobs do not share one hot key. Its expiry only ever moves later.

The expiry is set when the item is written, because setting it when the job ends would cost as much as writing the whole
item again: an update is billed by the size of the item. So it lasts `FULL_MS` from the job's due time, and later writes
of the job extend it when necessary: `PayloadItems.outlasting`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from botocore.exceptions import ClientError

from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding import codec, schema
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.encoding.marks import digest, table_mark, table_mark_of
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.errors import OffloadLost
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job
from jobclaim.jobs.storage.note_keys import SEPARATOR, Kind
from jobclaim.jobs.storage.note_keys import key as note_key
from jobclaim.jobs.storage.resilience import persistently

log = get_logger("jobclaim.jobs")

DAY_MS: Final = 86_400_000
FULL_MS: Final = 15 * DAY_MS
"""How long a payload lasts from its job's due time: no message lasts longer in SQS than 14 days."""
LEAST_MS: Final = 7 * DAY_MS
"""An open job whose payload expires sooner than this gets it extended by the next write, which recovery ensures."""


class PayloadItems:
    """Requests on the payload items of one job table.

    Parameters
    ----------
    client : callable
        Returns a boto3 DynamoDB client of this process.
    """

    def __init__(self, client: Callable[[], Any], table: str, *, clock: Clock, sleep: Callable[[float], None]) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._sleep = sleep

    def put(self, job: Job, text: str, *, kept_ms: int = 0, until: int | None = None) -> dict[str, Any]:
        """Write a payload's JSON; return its mark, which the job stores.

        Parameters
        ----------
        kept_ms : int
            How long the job is kept after it completed.
        until : int, optional
            As in `jobclaim.jobs.storage.resilience.persistently`.

        Raises
        ------
        StoreUnavailable
        """
        name = f"{job.job_id}{SEPARATOR}{digest(text)}"
        ends_at = (max(self._clock(), job.available_at) + max(FULL_MS, kept_ms + DAY_MS)) // 1000
        request = {
            "Item": {**note_key(Kind.PAYLOAD, name), "text": attribute(text), schema.TTL: attribute(ends_at)},
            "ConditionExpression": "attribute_not_exists(#key) OR #ttl < :ttl",
            "ExpressionAttributeNames": {"#key": schema.KEY, "#ttl": schema.TTL},
            "ExpressionAttributeValues": {":ttl": attribute(ends_at)},
        }
        with suppress(ClientError):  # only its condition: the same payload is there, and lasts longer
            self._ask("put_item", request, until)
        return table_mark(name, len(text.encode()), ends_at)

    def get(self, mark: dict[str, Any]) -> Any:
        """Read a payload back, consistently.

        Raises
        ------
        OffloadLost
            The item is missing, or differs from what was written.
        StoreUnavailable
        """
        name = mark[LARGE_MARK]["key"]
        answer = self._ask("get_item", {"Key": note_key(Kind.PAYLOAD, name), "ConsistentRead": True}, None)
        text = answer.get("Item", {}).get("text", {}).get("S")
        job_id, _, expected = name.rpartition(SEPARATOR)
        if text is None:
            raise OffloadLost(
                f"the payload item of job {job_id!r} no longer exists in table {self._table!r}: it was deleted by "
                "hand, or recovery did not run for a week; submit the job again"
            )
        if digest(text) != expected:
            raise OffloadLost(
                f"the payload item of job {job_id!r} is not what was written: its hash differs; find out what else "
                f"writes to table {self._table!r}, then submit the job again"
            )
        return codec.decode(text)

    def ends_soon(self, job: Job) -> bool:
        """Check whether a job's payload item expires so soon that the job must be written to extend it."""
        mark = table_mark_of(job)
        return mark is not None and mark[LARGE_MARK]["until"] * 1000 < self._clock() + LEAST_MS

    def outlasting(self, before: Job, after: Job, *, until: int | None = None) -> Job:
        """Return a job that is about to be written, with a payload that lasts as long as the job may need it.

        No request is made if it already does, which is nearly always so. Raises `StoreUnavailable`.
        """
        mark = table_mark_of(after)
        if mark is None or mark != table_mark_of(before):
            return after  # no payload item, or it was just written
        is_open = after.status.is_open
        base = max(self._clock(), after.available_at)
        needed = base + LEAST_MS if is_open else after.expires_at * 1000
        if mark[LARGE_MARK]["until"] * 1000 >= needed:
            return after
        ends_at = (base + FULL_MS if is_open else needed + DAY_MS) // 1000
        self._prolong(mark[LARGE_MARK]["key"], ends_at, after, until)
        longer = {LARGE_MARK: {**mark[LARGE_MARK], "until": ends_at}}
        return replace(after, payload=longer) if after.payload_mark is None else replace(after, payload_mark=longer)

    def _prolong(self, name: str, ends_at: int, job: Job, until: int | None) -> None:
        key: Item = note_key(Kind.PAYLOAD, name)
        request = {
            "Key": key,
            "UpdateExpression": "SET #ttl = :ttl",
            "ConditionExpression": "attribute_exists(#key) AND #ttl < :ttl",
            "ExpressionAttributeNames": {"#key": schema.KEY, "#ttl": schema.TTL},
            "ExpressionAttributeValues": {":ttl": attribute(ends_at)},
            "ReturnValuesOnConditionCheckFailure": "NONE",
        }
        try:
            self._ask("update_item", request, until)
        except ClientError:  # only its condition
            log.warning(
                "payload.extension_refused", reason="it no longer exists, or was extended already", **job.log_context()
            )

    def _ask(self, operation: str, request: dict[str, Any], until: int | None) -> Any:
        call = getattr(self._client(), operation)
        return persistently(
            lambda: call(TableName=self._table, **request), clock=self._clock, until=until, sleep=self._sleep
        )
