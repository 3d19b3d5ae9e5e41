"""Who did what to dead letters: one item of the job table per command, listed newest first within its retention.

Decisions about a job are stored with the job (`Job.decisions`); the audit trail records the commands, and actions on
messages in SQS's own dead-letter queues, which have no job. An entry's key holds a unit separator, as a note's does, so
no call takes it for a job. Its index partition, ``AUDIT``, is its own and is not read by anything else.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Self, TypeVar

from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding import codec, schema
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.storage.notes import SEPARATOR
from jobclaim.jobs.storage.resilience import persistently
from jobclaim.jobs.storage.table import JobTable

T = TypeVar("T")

PARTITION: Final = "AUDIT"
PREFIX: Final = f"audit{SEPARATOR}"
LONGEST: Final = 1_000
"""Maximum bytes stored of an entry's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One command.

    Attributes
    ----------
    at : int
        When it began, in epoch milliseconds.
    what : str
        The job ids, or the filter as text.
    done, refused : int or None
        ``None`` for a command that did not finish; its jobs show what it did.
    """

    at: int
    verb: str
    by: str
    why: str = ""
    what: str = ""
    done: int | None = None
    refused: int | None = None
    key: str = ""


class Audit:
    """The audit trail of one job table. All methods raise `StoreUnavailable`."""

    def __init__(self, table: JobTable, *, clock: Clock, keep_ms: int) -> None:
        self._table = table
        self._clock = clock
        self._keep_ms = keep_ms

    @classmethod
    def of(cls, repo: JobRepo) -> Self:
        """Return the audit trail of a repo's table; entries are kept as long as failed jobs."""
        return cls(repo.table, clock=repo.clock, keep_ms=repo.retention.dead)

    def begin(self, verb: str, *, by: str, why: str = "", what: str = "") -> AuditEntry:
        """Record that a command begins, before it does anything, so that a killed one leaves a trace."""
        now = self._clock()
        by, why, what = (codec.cut(text, LONGEST) for text in (by, why, what))
        entry = AuditEntry(at=now, verb=verb, by=by, why=why, what=what, key=f"{PREFIX}{now}-{secrets.token_hex(4)}")
        item = {
            schema.KEY: attribute(entry.key),
            schema.INDEX_HASH: attribute(PARTITION),
            schema.INDEX_RANGE: attribute(now),
            schema.TTL: attribute((now + self._keep_ms) // 1000),
            "entry": attribute(_text(entry)),
        }
        self._ask(lambda: self._table.client().put_item(TableName=self._table.name, Item=item))
        return entry

    def end(self, entry: AuditEntry, *, done: int, refused: int) -> None:
        """Record the result of a command."""
        text = attribute(_text(AuditEntry(**{**asdict(entry), "done": done, "refused": refused})))
        self._ask(
            lambda: self._table.client().update_item(
                TableName=self._table.name,
                Key=_key(entry.key),
                UpdateExpression="SET entry = :entry",
                ExpressionAttributeValues={":entry": text},
            )
        )

    def entries(self, *, limit: int = 50) -> list[AuditEntry]:
        """Return the latest commands, newest first."""
        rows = self._table.entries(PARTITION, limit=limit, newest_first=True)
        found = [self._read(row.job_id) for row in rows]
        return [entry for entry in found if entry is not None]

    def _read(self, key: str) -> AuditEntry | None:
        answer = self._ask(lambda: self._table.client().get_item(TableName=self._table.name, Key=_key(key)))
        text = answer.get("Item", {}).get("entry", {}).get("S")
        return AuditEntry(**json.loads(text), key=key) if text else None

    def _ask(self, request: Callable[[], T]) -> T:
        return persistently(request, clock=self._clock, sleep=self._table.sleep)


def _text(entry: AuditEntry) -> str:
    row: dict[str, Any] = {name: value for name, value in asdict(entry).items() if name != "key" and value is not None}
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False)


def _key(key: str) -> Item:
    return {schema.KEY: attribute(key)}
