"""The tasks that workers have registered: one small item for all workers with the same tasks.

A heartbeat is billed for the whole record, so the names are not in it: the record names the item that holds them. Each
worker writes that item when it starts, and again long before DynamoDB may delete it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from jobclaim.fleet.workers import KEPT_SECONDS, FleetRecords, WorkerRecord
from jobclaim.jobs import StoreUnavailable
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute, text_in
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.records import HasTable, Records

log = get_logger("jobclaim.heartbeat")

PREFIX: Final = "#tasks#"
OF_CELERY: Final = "celery."
AGAIN_MS: Final = KEPT_SECONDS * 1000 // 4
"""Interval between two writes of the item by one worker."""


def own(names: Iterable[str]) -> list[str]:
    """Return the names worth publishing, sorted: all except Celery's own, as in `celery inspect`."""
    return sorted(name for name in names if not name.startswith(OF_CELERY))


def digest_of(names: Iterable[str]) -> str:
    """Return the digest of a set of tasks: equal in all workers that have the same tasks."""
    return hashlib.sha256(json.dumps(sorted(names)).encode()).hexdigest()[:16]


class RegisteredTasks(Records):
    """Requests on the fleet table about sets of tasks."""

    def write(self, names: Iterable[str]) -> None:
        """Write the item of a set of tasks; it is kept for a day. Raises what boto3 raises."""
        names = sorted(names)
        self._client().update_item(
            TableName=self._table,
            Key={schema.FLEET_KEY: attribute(PREFIX + digest_of(names))},
            UpdateExpression="SET #names = :names, #expires = :expires",
            ExpressionAttributeNames={"#names": "names", "#expires": schema.FLEET_TTL},
            ExpressionAttributeValues={
                ":names": attribute(base64.b64encode(zlib.compress(json.dumps(names).encode())).decode()),
                ":expires": attribute(self._clock() // 1000 + KEPT_SECONDS),
            },
        )

    def read(self, digest: str) -> list[str] | None:
        """Return the names, sorted; ``None`` if there is no such item, or none to read. Raises `StoreUnavailable`."""
        key = {schema.FLEET_KEY: attribute(PREFIX + digest)}
        answer = self._ask(lambda: self._client().get_item(TableName=self._table, Key=key))
        if "Item" not in answer:
            return None
        try:
            return list(json.loads(zlib.decompress(base64.b64decode(text_in(answer["Item"], "names")))))
        except (ValueError, TypeError, zlib.error):  # a later release may write it in another form
            return None


def of_live_workers(repo: HasTable) -> list[str]:
    """Return all tasks that live workers have registered, sorted. Scans the fleet table, and reads each set of tasks.

    Raises
    ------
    StoreUnavailable
    """
    live = FleetRecords.of(repo).live(repo.settings.worker_dead_after_seconds)
    sets, tasks = {record.tasks for record in live if record.tasks}, RegisteredTasks.of(repo)
    return sorted({name for digest in sets for name in tasks.read(digest) or ()})


def tasks_of(repo: HasTable, workers: Iterable[WorkerRecord]) -> frozenset[str] | None:
    """Return the tasks that these workers have registered, with one read per set; ``None`` unless all are known.

    Raises
    ------
    StoreUnavailable
    """
    digests, tasks = {record.tasks for record in workers}, RegisteredTasks.of(repo)
    sets = [tasks.read(digest) if digest else None for digest in digests]
    known = [names for names in sets if names is not None]
    return frozenset(name for names in known for name in names) if known and len(known) == len(sets) else None


class Announcement:
    """Keeps the item of one worker's tasks up to date.

    Parameters
    ----------
    names : iterable of str
        The worker's registered tasks.
    """

    def __init__(self, records: RegisteredTasks, names: Iterable[str]) -> None:
        self._records = records
        self._names = tuple(names)
        self._again_at = 0

    def write_if_due(self, now: int) -> None:
        """Write the item if it is due; a failed write is retried with the next call."""
        if now < self._again_at:
            return
        try:
            self._records.write(self._names)
        except (ClientError, BotoCoreError, StoreUnavailable) as error:
            log.warning("worker.tasks_not_recorded", reason=str(error))
        else:
            self._again_at = now + AGAIN_MS
