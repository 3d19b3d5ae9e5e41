"""The fleet table: one record per worker, with its heartbeat, the jobs that it runs, and commands for it.

::

    worker ──── beat: seen_at, jobs ────▶  record  ◀──── ask: commands[job_id] = "cancel" ──── people
           ◀─── ALL_NEW: commands ───────

A record without a heartbeat for `Settings.worker_dead_after_seconds` belongs to a lost worker; recovery ends its jobs,
as cancelled where that was requested, and removes the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from botocore.exceptions import ClientError

from jobclaim.jobs.clock import BELIEVED_AHEAD_MS
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute, number_in, text_in
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.storage.records import HasTable, Records
from jobclaim.jobs.storage.resilience import condition_failed

T = TypeVar("T")

CANCEL: Final = "cancel"
KEPT_SECONDS: Final = 86_400
"""Seconds after the last heartbeat at which DynamoDB may delete a record that recovery has not removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """What the fleet knows of one worker.

    Attributes
    ----------
    seen_at, started_at : int
        Epoch milliseconds.
    queues : tuple of str
        Logical queues that it consumes.
    jobs : tuple of str
        Ids of the jobs that it is running.
    claims : tuple of str, optional
        Tokens of the claims that it vouches for: while it is alive, recovery leaves these jobs alone, even past their
        lease. Only a worker with threads sets any, because it cannot end an attempt at its hard limit.
    commands : mapping of str to str
        Commands by job id that have not been carried out yet.
    drain : bool
        Whether it was asked to stop.
    digest : str
        `Settings.digest` of the worker; empty in the record of an older release.
    node : str
        Celery's name of the worker, ``celery@host``, which several may share; empty in the record of an older release.
    tasks : str
        `fleet.registered.digest_of` its tasks; empty in the record of an older release.
    """

    worker_id: str
    seen_at: int = 0
    started_at: int = 0
    queues: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    claims: tuple[str, ...] | None = None
    version: str = ""
    host: str = ""
    pid: int = 0
    concurrency: int = 0
    commands: Mapping[str, str] = field(default_factory=dict)
    drain: bool = False
    digest: str = ""
    node: str = ""
    tasks: str = ""

    def is_lost(self, now: int, dead_after_seconds: int) -> bool:
        """Check whether its last heartbeat is too old."""
        return now - self.seen_at >= dead_after_seconds * 1000

    def state(self, now: int, dead_after_seconds: int) -> str:
        """Return ``dead``, ``stopping`` or ``alive``."""
        return "dead" if self.is_lost(now, dead_after_seconds) else "stopping" if self.drain else "alive"


class FleetRecords(Records):
    """Requests on the fleet table; they raise `StoreUnavailable` unless they say otherwise."""

    # --- by the worker itself
    def beat(self, record: WorkerRecord, done: Sequence[str] = ()) -> WorkerRecord:
        """Write a heartbeat, once, and return the record with its commands; ``done`` are commands to remove.

        A stored heartbeat that is more than a minute ahead was written before this machine's clock was put right, and
        is replaced in a second request.

        Raises
        ------
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError
            It was not written, or its answer was lost; the next heartbeat tries again.
        """
        try:
            stored = self._beat(record, done)
        except ClientError as error:
            if not (done and condition_failed(error)):
                raise
            # the record was removed with its commands because the worker was taken for lost
            stored = self._beat(record, ())
        if stored.seen_at <= record.seen_at + BELIEVED_AHEAD_MS:
            return stored
        return self._beat(record, done, instead_of=stored.seen_at)

    def _beat(self, record: WorkerRecord, done: Sequence[str], *, instead_of: int = 0) -> WorkerRecord:
        fields = _heartbeat(record)
        names = {f"#{name}": name for name in fields} | {"#commands": "commands"}
        values = {f":{name}": value for name, value in fields.items()}
        sets = [f"#{name} = :{name}" for name in fields]
        # a heartbeat delayed in the network must not move the time back: a healthy worker would look lost
        condition = "(attribute_not_exists(#seen_at) OR #seen_at <= :seen_at)"
        if instead_of:
            condition, values[":instead_of"] = "#seen_at = :instead_of", attribute(instead_of)
        if done:
            names |= {f"#done{n}": job_id for n, job_id in enumerate(done)}
            removes = " REMOVE " + ", ".join(f"#commands.#done{n}" for n in range(len(done)))
            condition += " AND attribute_exists(#commands)"
        else:
            sets.append("#commands = if_not_exists(#commands, :none)")
            values[":none"] = {"M": {}}
            removes = ""
        try:
            answer = self._client().update_item(
                TableName=self._table,
                Key=_key(record.worker_id),
                UpdateExpression="SET " + ", ".join(sets) + removes,
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            later = _later(error, record)
            if later is None:
                raise
            return later
        return record_of(answer["Attributes"])

    def remove(self, worker_id: str) -> WorkerRecord | None:
        """Deregister the worker: delete its record, and return it with the commands that came last.

        Raises
        ------
        StoreUnavailable
            DynamoDB did not answer. Applies to all methods below.
        """
        _, item = self._write("delete_item", Key=_key(worker_id), ReturnValues="ALL_OLD")
        return record_of(item) if item else None

    def remove_unseen(self, worker_id: str, seen_at: int) -> bool:
        """Delete a lost worker's record if its heartbeat is still the one that was read; return whether it was."""
        return self._write(
            "delete_item",
            Key=_key(worker_id),
            ConditionExpression="seen_at = :seen_at",
            ExpressionAttributeValues={":seen_at": attribute(seen_at)},
        )[0]

    # --- by people
    def ask(self, worker_id: str, job_id: str, command: str) -> WorkerRecord | None:
        """Leave a command for a worker; ``None`` if the worker has no record and would never read it."""
        return self._request(
            worker_id,
            UpdateExpression="SET #commands.#job = :command",
            ConditionExpression="attribute_exists(#commands)",
            ExpressionAttributeNames={"#commands": "commands", "#job": job_id},
            ExpressionAttributeValues={":command": attribute(command)},
        )

    def ask_to_drain(self, worker_id: str) -> WorkerRecord | None:
        """Ask a worker to stop as on SIGTERM; ``None`` if it has no record."""
        return self._request(
            worker_id,
            UpdateExpression="SET #drain = :yes",
            ConditionExpression=f"attribute_exists({schema.FLEET_KEY})",
            ExpressionAttributeNames={"#drain": "drain"},
            ExpressionAttributeValues={":yes": {"BOOL": True}},
        )

    def get(self, worker_id: str) -> WorkerRecord | None:
        """Read one worker's record; ``None`` if it has none."""
        answer = self._ask(lambda: self._client().get_item(TableName=self._table, Key=_key(worker_id)))
        return record_of(answer["Item"]) if "seen_at" in answer.get("Item", {}) else None

    def all(self) -> list[WorkerRecord]:
        """Read the records of all workers, longest running first."""
        return workers_in(item for items, _ in self.pages() for item in items)

    def live(self, dead_after_seconds: int) -> list[WorkerRecord]:
        """Read the records of the live workers, longest running first."""
        return [record for record in self.all() if not record.is_lost(self.now(), dead_after_seconds)]

    def pages(self, *, consistent: bool = False) -> Iterator[tuple[list[Item], bool]]:
        """Scan the table page by page; each page comes with a flag for the last one.

        A scan is right here: the table holds one small record per worker, breaker and five minutes of a day, so a fleet
        of a thousand workers is some 50 read units.
        """
        request: dict[str, Any] = {"TableName": self._table, "ConsistentRead": consistent}
        while True:
            answer = self._ask(lambda: self._client().scan(**request))
            is_last = "LastEvaluatedKey" not in answer
            yield answer["Items"], is_last
            if is_last:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _request(self, worker_id: str, **request: Any) -> WorkerRecord | None:
        applied, item = self._write("update_item", Key=_key(worker_id), ReturnValues="ALL_NEW", **request)
        return record_of(item) if applied else None


def is_cancel_under_way(repo: HasTable, job: Job) -> bool:
    """Check whether a running job's cancellation was requested and is not yet done. Costs one read."""
    if job.status is not JobStatus.PROCESSING or not job.worker_id:
        return False
    record = FleetRecords.of(repo).get(job.worker_id)
    return record is not None and record.commands.get(job.job_id) == CANCEL


def _heartbeat(record: WorkerRecord) -> dict[str, Any]:
    """Return what a worker writes about itself; commands are written by others."""
    return {
        "seen_at": attribute(record.seen_at),
        "started_at": attribute(record.started_at),
        "queues": {"L": [attribute(queue) for queue in record.queues]},
        "jobs": {"L": [attribute(job_id) for job_id in record.jobs]},
        "version": attribute(record.version),
        "host": attribute(record.host),
        "pid": attribute(record.pid),
        "concurrency": attribute(record.concurrency),
        "digest": attribute(record.digest),
        **({} if record.claims is None else {"claims": {"L": [attribute(token) for token in record.claims]}}),
        "node": attribute(record.node),
        "tasks": attribute(record.tasks),
        schema.FLEET_TTL: attribute(record.seen_at // 1000 + KEPT_SECONDS),
    }


def workers_in(items: Iterable[Item]) -> list[WorkerRecord]:
    """Select the workers from the table's records, longest running first; other records have no heartbeat."""
    found = [record_of(item) for item in items if "N" in item.get("seen_at", {}) and not _is_ours(item)]
    return sorted(found, key=lambda record: (record.started_at, record.worker_id))


def _is_ours(item: Item) -> bool:
    """Check whether a record is the framework's own: its key starts with ``#``, as no worker's name does."""
    return str(item[schema.FLEET_KEY]["S"]).startswith("#")


def record_of(item: Item) -> WorkerRecord:
    """Read a worker's record; a value of an unexpected type counts as none, so that it cannot end a pass."""
    plain: dict[str, Any] = {name: text_in(item, name) for name in ("version", "host", "digest", "node", "tasks")}
    plain |= {name: number_in(item, name) for name in ("seen_at", "started_at", "pid", "concurrency")}
    commands: Item = item.get("commands", {}).get("M", {})
    return WorkerRecord(
        worker_id=text_in(item, schema.FLEET_KEY),
        queues=_names_in(item, "queues"),
        jobs=_names_in(item, "jobs"),
        claims=_names_in(item, "claims") if "claims" in item else None,
        commands={job_id: text_in(commands, job_id) for job_id in commands},
        drain=bool(item.get("drain", {}).get("BOOL")),
        **plain,
    )


def _names_in(item: Item, name: str) -> tuple[str, ...]:
    """Read a list of texts, or a set of them."""
    value = item.get(name, {})
    return (*(str(one["S"]) for one in value.get("L", ()) if "S" in one), *sorted(value.get("SS", ())))


def _key(worker_id: str) -> dict[str, Any]:
    return {schema.FLEET_KEY: attribute(worker_id)}


def _later(refused: ClientError, record: WorkerRecord) -> WorkerRecord | None:
    """Return the newer record that blocked a heartbeat; ``None`` if something else did."""
    item: Any = refused.response.get("Item")
    if not item:
        return None
    stored = record_of(item)
    return stored if stored.seen_at > record.seen_at else None
